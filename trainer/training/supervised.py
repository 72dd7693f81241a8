"""The objectives `sft` and `seqkd`: TRL's SFT trainer over targets."""

from trl import SFTTrainer

from trainer.run.checkpoint import WholeCheckpoints
from trainer.training.stopping import FiniteLoss


class SupervisedTrainer(WholeCheckpoints, FiniteLoss, SFTTrainer):
    """TRL's SFT over rows `{"input_ids": token ids, "labels": token ids, -100 on the prompt}`."""
