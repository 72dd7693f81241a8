"""The objectives `sft` and `seqkd`: TRL's SFT trainer over targets."""

import json
from pathlib import Path
from typing import Any

import torch
from trl import SFTTrainer

from ..run.atomic import write_json
from .order import ResumedOrder
from .sharding import ShardedTraining
from .stopping import FiniteLoss

TOKENS = "num_tokens.json"  # what TRL counts over a whole run, and keeps in memory alone


class SupervisedTrainer(ShardedTraining, ResumedOrder, FiniteLoss, SFTTrainer):
    """TRL's SFT over rows `{"input_ids": token ids, "labels": token ids, -100 on the prompt}`."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        model: Any = self.model
        for weight in model.parameters():
            # TRL has the adapters of a model in four bits in bfloat16, where a small learning rate rounds away.
            if weight.requires_grad and weight.dtype == torch.bfloat16:
                weight.data = weight.data.float()
        self._leave_out_unknown_balance()
        self.shard()

    def _save_more(self, folder: Path) -> None:
        super()._save_more(folder)
        if self.is_world_process_zero():
            write_json(folder / TOKENS, self._total_train_tokens)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if (file := Path(resume_from_checkpoint) / TOKENS).exists():  # older checkpoints have none
            self._total_train_tokens = json.loads(file.read_text(encoding="utf-8"))

    def _leave_out_unknown_balance(self) -> None:
        """TRL adds the routers' balancing loss for every model that could tell of them, also where it has no experts.

        It knows their number by one name alone (TRL 1.16); Granite has another, and none at all in its dense models.
        """
        config: Any = self.model.config.get_text_config()
        if self.aux_loss_enabled and not hasattr(config, "num_experts"):
            self.aux_loss_enabled = config.output_router_logits = False
            if getattr(config, "num_local_experts", 0):
                print(
                    f"router_aux_loss_coef: 0 (TRL can't balance the experts of a model of type {config.model_type!r})"
                )
