"""The objectives `sft` and `seqkd`: TRL's SFT trainer over targets."""

from typing import Any

import torch
from trl import SFTTrainer

from trainer.training.sharding import ShardedTraining
from trainer.training.stopping import FiniteLoss


class SupervisedTrainer(ShardedTraining, FiniteLoss, SFTTrainer):
    """TRL's SFT over rows `{"input_ids": token ids, "labels": token ids, -100 on the prompt}`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        model: Any = self.model
        for weight in model.parameters():
            # TRL has the adapters of a model in four bits in bfloat16, where a small learning rate rounds away.
            if weight.requires_grad and weight.dtype == torch.bfloat16:
                weight.data = weight.data.float()
        self.shard()
