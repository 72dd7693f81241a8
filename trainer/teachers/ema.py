"""The local teacher: an exponential moving average of the student, in float32 whatever the student trains in.

In bfloat16 an update of rate 0.01 is below half a unit in the last place of most weights and rounds away,
so the teacher would silently stay what it was.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from ..errors import UsageError
from ..models.sharded import SHARDS, shard_of, take

# In the format of safetensors, but not by its ending: vLLM loads every *.safetensors of a folder, one over the other,
# and would serve the teacher's weights in place of the student's.
FILE_NAME = "teacher.ema"
FORMER_NAME = "teacher.safetensors"  # in checkpoints of earlier releases
ADAPTER = "teacher"


class EmaTeacher(TrainerCallback):
    """Keeps `weights = (1 - rate) * weights + rate * student` after every optimizer step.

    Args:
        model: The module whose forward pass scores rollouts: a copy of the student, or for LoRA the student
            itself, which then carries the teacher as a second adapter.
        pairs: Parameter name -> (teacher's float32 parameter, student's parameter).
        rate: Share of the student that enters at an update.
    """

    def __init__(self, model: nn.Module, pairs: dict[str, tuple[nn.Parameter, nn.Parameter]], rate: float):
        self.model = model
        self.pairs = pairs
        self.rate = rate

    @classmethod
    def of_model(cls, student: nn.Module, rate: float, model: nn.Module | None = None) -> "EmaTeacher":
        """A teacher that starts as a float32 copy of all of the student's weights; `model` where that is made."""
        model = model or copy.deepcopy(student).float().requires_grad_(False).eval()
        own = dict(model.named_parameters())
        return cls(model, {name: (own[name], weight) for name, weight in student.named_parameters()}, rate)

    @classmethod
    def of_adapter(cls, student: PeftModel, rate: float) -> "EmaTeacher":
        """A teacher that is a second adapter, equal to the student's at the start.

        Raises:
            UsageError: a weight that is trained belongs to no adapter, so that the teacher would have the student's.
        """
        if ADAPTER not in student.peft_config:
            add_teacher(student)
        trained = _trained(student)
        twins = twins_of(trained, dict(student.named_parameters()), str(student.active_adapter))
        return cls(student, {name: (twins[name], weight) for name, weight in trained.items()}, rate)

    @torch.no_grad()
    def update(self) -> None:
        """Move every weight towards the student's by the rate."""
        for teacher, student in self.pairs.values():
            shard_of(teacher).lerp_(shard_of(student).float(), self.rate)

    def on_step_end(self, args, state, control, **kwargs):
        """Hook of the training loop: one update an optimizer step, before the step is saved."""
        self.update()

    @property
    def weights(self) -> dict[str, Tensor]:
        """By name, and on whatever device and process they are."""
        return {name: teacher.detach() for name, (teacher, _) in self.pairs.items()}

    def save(self, folder: Path) -> None:
        """Write the float32 weights into a checkpoint folder."""
        save_file({name: weight.cpu().contiguous() for name, weight in self.weights.items()}, folder / FILE_NAME)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Take the weights from a checkpoint folder, as one process wrote them or several.

        Raises:
            KeyError: the checkpoint was made with other trainable weights.
        """
        if (folder / SHARDS).exists():
            dcp.load({"teacher": self.weights}, checkpoint_id=folder / SHARDS)
            return
        kept = folder / FILE_NAME
        saved = load_file(kept if kept.is_file() else folder / FORMER_NAME)
        for name, weight in self.weights.items():
            take(weight, saved[name])


def add_teacher(student: PeftModel) -> None:
    """Add a second adapter that is equal to the student's.

    Raises:
        UsageError: a weight that is trained belongs to no adapter, so that the teacher would have the student's.
    """
    active, trained = str(student.active_adapter), _trained(student)
    student.add_adapter(ADAPTER, student.peft_config[active])
    for name, twin in twins_of(trained, dict(student.named_parameters()), active).items():
        twin.data = trained[name].data.detach().clone().float()
        twin.requires_grad_(False)


def _trained(student: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in student.named_parameters() if weight.requires_grad}


def twins_of(
    trained: Mapping[str, nn.Parameter], weights: Mapping[str, nn.Parameter], active: str
) -> dict[str, nn.Parameter]:
    """The parameter of the teacher's adapter for each one that is trained in the adapter `active`, by its name.

    An adapter's name is a whole part of the names of its parameters, wherever it keeps them: factors of linear layers
    and of embeddings, magnitude vectors, whole modules that are trained.

    Raises:
        UsageError: there is none for some of them.
    """
    twins, alone = {}, []
    for name, weight in trained.items():
        parts = name.split(".")
        places = [place for place, part in enumerate(parts) if part == active]
        names = [".".join([*parts[:place], ADAPTER, *parts[place + 1 :]]) for place in places]
        twin = next((weights[other] for other in names if other in weights), None)
        if twin is None or twin.shape != weight.shape:
            alone.append(name)
        else:
            twins[name] = twin
    if alone:
        raise UsageError(
            f"{len(alone)} of {len(trained)} trained weights are of no adapter, and a teacher that is a second adapter "
            f"has no copy of them: {', '.join(alone[:3])}. Leave them out of --lora_target_modules, train without "
            "--use_peft, or pass --teacher_kind live."
        )
    return twins
