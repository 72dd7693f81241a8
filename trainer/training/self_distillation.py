"""The objective `sdft`: the student's own copy, shown the demonstration, scores its rollouts over the vocabulary.

Shapes: N tokens in the loss, H hidden.
"""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.experimental.sdft import SDFTConfig

from ..data.encoding import longest
from ..data.prompts import DemonstratedPrompts, ShownPrompts
from ..losses.divergence import Divergence, TokenStatistics, chunked_divergence
from ..models.hidden_states import check_head, head_of
from ..models.sharded import reshard
from ..teachers.ema import EmaTeacher, add_teacher
from .loop import DistillationTrainer
from .microbatches import group_by_length
from .order import TeacherShare
from .rollout import Rollout, Sampler, evaluating


class SelfDistillationTrainer(DistillationTrainer):
    """SDFT with a teacher made of the student's weights.

    Args:
        teacher: A model that teaches and stays as it is; None: the student's own weights, as TRL's arguments say.
        contexts: What the teacher reads. The rollouts of a row that has no demonstration teach nothing.
        teacher_share: Of a step's prompts, how many the shown student answers; None: none, or all where TRL's arguments
            say so.
    """

    def __init__(
        self,
        *args: Any,
        contexts: DemonstratedPrompts | ShownPrompts,
        teacher: PreTrainedModel | None = None,
        teacher_share: TeacherShare | None = None,
        **kwargs: Any,
    ):
        self.ema: EmaTeacher | None = None
        self.contexts = contexts
        self.given_teacher = teacher
        self.teacher_share = teacher_share
        super().__init__(*args, **kwargs)
        self.divergence = divergence_of(self.args)

    def _setup_teacher_model(self) -> None:
        kind, rate, adapts = self.args.teacher_model_kind, self.args.teacher_update_rate, is_peft_model(self.model)
        if kind == "ema" and adapts:
            add_teacher(self.accelerator.unwrap_model(self.model))  # before the weights are spread, its own among them
        self.shard()
        student = self.accelerator.unwrap_model(self.model)
        twin = self.sharded_twin() if self.is_sharding and kind != "live" and not adapts else None
        self.teacher_model = self.model
        if self.given_teacher is not None:
            self.teacher_model = self.given_teacher.requires_grad_(False).eval()
            nn.Module.to(self.teacher_model, self.args.device)
            check_head(self.teacher_model, self.args.device)
        elif kind == "ema":
            self.ema = EmaTeacher.of_adapter(student, rate) if adapts else EmaTeacher.of_model(student, rate, twin)
            self.teacher_model = self.ema.model
            self.add_callback(self.ema)
        elif kind == "base" and not adapts:
            self.teacher_model = twin or copy.deepcopy(student).requires_grad_(False).eval()

    def _get_teacher_context_for_self_distillation(self) -> AbstractContextManager[Any]:
        """What brings the teacher's weights in, where the student's module has them."""
        own = self.given_teacher is None
        return super()._get_teacher_context_for_self_distillation() if own else nullcontext()

    def _make_sampler(self, engine: str) -> Sampler:
        if self.generate_from_teacher:
            self.teacher_share = TeacherShare(1, 1)
        if self.teacher_share is None:
            return super()._make_sampler(engine)
        numbers: list[int] = self.train_dataset["row"]  # pyright: ignore
        contexts = {row: self.contexts.ids(row) or [] for row in numbers if not self._is_replayed_row(row)}
        most = max(max(map(len, contexts.values())), longest(self.train_dataset, "prompt"))  # pyright: ignore
        return Sampler(self, engine, most, partial(self._asked, contexts))

    def _asked(self, contexts: dict[int, list[int]], rows: list[dict[str, Any]]) -> list[list[int]]:
        """What is answered of each row: its prompt, or for the teacher's share what the teacher reads."""
        assert self.teacher_share is not None
        places = [place for place, row in enumerate(rows) if row["row"] in contexts]
        state = self.state
        chosen = self.teacher_share.chosen(
            [rows[place]["row"] for place in places],
            step=state.global_step,
            steps=state.max_steps,
            epoch=int(state.epoch or 0),
        )
        if not self.generate_from_teacher:
            self.measures.add("rollouts/by_teacher", len(chosen) / max(1, len(places)))
        by_teacher = {places[index] for index in chosen}
        return [contexts[row["row"]] if place in by_teacher else row["prompt"] for place, row in enumerate(rows)]

    def _begin_step(self, rows: list[int]) -> None:
        for row in rows:
            self.contexts.request(row)

    def _with_loss(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[float]]:
        """As for every teacher, but without rows that have no demonstration; one of weight 0 if none has."""
        chosen, weights = super()._with_loss(rollouts)
        requests = {r.row: self.contexts.request(r.row) for r in chosen if not self._is_replayed(r)}
        self._wait_for_all([*requests.values()])
        taught = [
            (rollout, weight)
            for rollout, weight in zip(chosen, weights, strict=True)
            if self._is_replayed(rollout) or requests[rollout.row].result() is not None
        ]
        taught = taught or [(chosen[0], 0.0)]
        return [rollout for rollout, _ in taught], [weight for _, weight in taught]

    def _teacher_views(self, rollouts: list[Rollout], groups: list[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """The views are the teacher's last hidden states [N, H] at a group's tokens in the loss."""
        with self.measures.stage("teacher"):
            states = self._teacher_states(rollouts)
        for group in groups:
            yield group, torch.cat([states.pop(index) for index in group])

    @torch.no_grad()
    def _teacher_states(self, rollouts: list[Rollout]) -> dict[int, Tensor]:
        """For each rollout, by its index, the teacher's states, without dropout."""
        states: dict[int, Tensor] = {}
        teacher = self.accelerator.unwrap_model(self.teacher_model)
        contexts = [self.contexts.ids(rollout.row) or rollout.prompt_ids for rollout in rollouts]
        lengths = [len(ids) + len(rollout.completion_ids) for ids, rollout in zip(contexts, rollouts, strict=True)]
        with (
            evaluating(teacher),
            self.compute_loss_context_manager(),
            self._get_teacher_context_for_self_distillation(),
        ):
            for group in self._in_step(iter(group_by_length(lengths, self.limit))):
                part = [rollouts[index] for index in group or []] or [self._without_tokens()]
                prompts = [contexts[index] for index in group] if group else [part[0].prompt_ids]
                hidden_NH = self._through(teacher, partial(self._states, teacher, part, prompts))
                states |= zip(group or [], hidden_NH.split(self._tokens_in_loss(part)), strict=bool(group))
                self.stop_if_asked()
        return states

    def _microbatch_loss(
        self, part: list[Rollout], weights: list[float], view: Tensor | None
    ) -> tuple[Tensor, TokenStatistics]:
        student, teacher = (self.accelerator.unwrap_model(m) for m in (self.model, self.teacher_model))
        student_NH = self._states(student, part, [rollout.prompt_ids for rollout in part])
        tokens_N, weights_N, logps_N = self._tokens_of(part, weights, student_NH.device)
        heads = head_of(student), head_of(teacher)
        view = student_NH.detach() if view is None else view
        self._look_closer(part, student=(student_NH, heads[0]), teacher=(view, heads[1]))
        return chunked_divergence(student_NH, heads[0], view, heads[1], tokens_N, weights_N, self.divergence, logps_N)

    def _save_more(self, folder: Path) -> None:
        super()._save_more(folder)
        if self.ema is not None and self.is_world_process_zero() and not self.is_sharding:
            self.ema.save(folder)

    def _shards(self) -> dict[str, Any]:
        return {} if self.ema is None else {"teacher": self.ema.weights}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.ema is not None:
            reshard(self.ema.model)
            self.ema.load(Path(resume_from_checkpoint))


def divergence_of(args: SDFTConfig) -> Divergence:
    """The divergence that TRL's arguments describe."""
    return Divergence(
        alpha=args.distillation_alpha,
        temperature=args.temperature,
        mode=args.distillation_mode,
        top_k=args.distillation_topk,
        add_tail=args.distillation_add_tail,
        max_ratio=args.distillation_is_clip,
    )
