"""The objective `served`: a teacher behind HTTP says how likely it finds the student's own answers.

Requests leave as soon as a rollout is known, and micro-batches train in the order in which their scores arrive; the
student's forward pass does not wait for them. So the sum of gradients may differ in its last digits from run to run;
with `overlap=False` it does not.

Shapes: N tokens in the loss, K likeliest tokens of the teacher.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from torch import Tensor

from ..losses.divergence import Divergence, TokenStatistics, chunked_divergence
from ..losses.served import chunk_policy_gradient, support_divergence
from ..losses.served_targets import chunk_targets, support_targets, without_first
from ..models.hidden_states import head_of
from ..models.output_head import OutputHead
from ..teachers.served.routes import ChunkScores
from ..teachers.served.served import ServedTeacher, View
from ..teachers.tokens.alignment import NoSignal
from ..teachers.tokens.token_scores import TokenScores
from .loop import DistillationTrainer
from .rollout import Rollout

FORWARD = Divergence()  # KL(initial student‖student)


class ServedDistillationTrainer(DistillationTrainer):
    """Distillation from a served teacher, of the student's tokenizer or of another one.

    Args:
        teacher: Whom to ask.
        credit: How the advantage of a chunk is shared among its tokens, see `chunk_policy_gradient`.
        clip: Bound of a token's advantage, in nats.
        anchor: Weight of the divergence from the initial student at tokens that the teacher tells nothing of.
        overlap: Ask and train while other requests are under way; else each stage waits for the one before it.
    """

    def __init__(
        self,
        *args: Any,
        teacher: ServedTeacher,
        credit: str,
        clip: float,
        anchor: float = 0.0,
        overlap: bool = True,
        **kwargs: Any,
    ):
        self.teacher = teacher
        self.credit = credit
        self.clip = clip
        self.anchor_weight = anchor
        self._lost: Counter[NoSignal] = Counter()  # tokens of the step without signal, of all that were asked about
        self._asked = 0
        self.overlap = overlap
        super().__init__(*args, needs_initial=bool(anchor), **kwargs)
        if overlap:
            self._rollout_known = self.teacher.request

    @property
    def loss_temperature(self) -> float:
        """The server tells its log-probabilities at temperature 1."""
        return 1.0

    def _setup_teacher_model(self) -> None:
        """There is none in this process."""
        self.shard()
        self.teacher_model = self.model

    def _begin_step(self, rows: list[int]) -> None:
        self.teacher.forget()
        if self.overlap:
            for row in rows:
                self.teacher.expect(row)

    def _teacher_views(
        self, rollouts: list[Rollout], groups: list[list[int]]
    ) -> Iterator[tuple[list[int], Callable[[], list[View]]]]:
        """The views are those of the group's rollouts, waited for when they are called for; see `_take_group`."""
        self._lost, self._asked = Counter(), 0
        self.measures.expect("waiting")
        requests = {index: self._request(rollouts[index]) for group in reversed(groups) for index in reversed(group)}
        if not self.overlap:
            self._wait_for_all([*requests.values()])
        left = list(groups)
        while left:
            group = _take_group(left, requests)
            yield group, partial(self._views_of, group, requests)

    def _request(self, rollout: Rollout) -> Future[View]:
        return self.teacher.request(rollout.row, rollout.completion_ids)

    def _views_of(self, group: list[int], requests: dict[int, Future[View]]) -> list[View]:
        """The answers to a group's requests; one that failed, of whatever group, is raised at once."""
        while True:
            for request in requests.values():
                if request.done():
                    request.result()
            if all(requests[index].done() for index in group):
                return [requests[index].result() for index in group]
            with self.measures.stage("waiting"):
                self.wait_for_any([request for request in requests.values() if not request.done()])

    def _microbatch_loss(
        self, part: list[Rollout], weights: list[float], view: Callable[[], list[View]] | None
    ) -> tuple[Tensor, TokenStatistics]:
        """The student reads its answers before the teacher's views are called for, which may be under way till then."""
        student = self.accelerator.unwrap_model(self.model)
        hidden_NH, head = self._states(student, part, [rollout.prompt_ids for rollout in part]), head_of(student)
        tokens_N, weights_N, logps_N = self._tokens_of(part, weights, hidden_NH.device)
        known = {
            "rollout_logps_N": logps_N,
            "max_ratio": self.args.distillation_is_clip if logps_N is not None else None,
        }
        alpha, skip = self.args.distillation_alpha, self.args.num_loss_tokens_to_skip
        self._look_closer(part, student=(hidden_NH, head))
        if view is None:
            return self._without_views(part, hidden_NH, head, tokens_N, weights_N)
        views = view()
        scores = [without_first(each, skip) for each in views if isinstance(each, TokenScores)]
        if scores:
            self._show_told(part, scores)
            targets = support_targets(scores, tokens_N, head)
            return support_divergence(hidden_NH, head, targets, tokens_N, weights_N, alpha, **known)
        chunks = [each for each in views if isinstance(each, ChunkScores)]
        self._count_signal(chunks)
        targets = chunk_targets(chunks, skip, tokens_N, head)
        loss, seen = chunk_policy_gradient(
            hidden_NH, head, targets, tokens_N, weights_N, credit=self.credit, clip=self.clip, alpha=alpha, **known
        )
        lost_N = (targets.chunks_N < 0) & ~targets.dense_N
        if not self.anchor_weight or not (lost_N.any() or self.is_sharding):
            return loss, seen
        return loss + self._anchoring(part, hidden_NH, tokens_N, self.anchor_weight * weights_N, lost_N, seen), seen

    def _without_views(
        self, part: list[Rollout], hidden_NH: Tensor, head: OutputHead, tokens_N: Tensor, weights_N: Tensor
    ) -> tuple[Tensor, TokenStatistics]:
        """A loss of no tokens, with the passes that other processes take through sharded weights."""
        other = self._initial_view(part) if self.anchor_weight else (hidden_NH.detach(), head)
        return chunked_divergence(hidden_NH, head, *other, tokens_N, weights_N, FORWARD)

    def _show_told(self, part: list[Rollout], scores: list[TokenScores]) -> None:
        """Show what the teacher says that it expected at the tokens of the step's sample."""
        for rollout, told in zip(part, scores, strict=True):
            if self.samples.span_in([rollout], [0]) is not None:
                self.samples.told("teacher", told.token_ids_NK, told.logps_NK)

    def _anchoring(
        self,
        part: list[Rollout],
        hidden_NH: Tensor,
        tokens_N: Tensor,
        weights_N: Tensor,
        lost_N: Tensor,
        seen: TokenStatistics,
    ) -> Tensor:
        """The divergence from the initial student at tokens without signal, also put into `seen`.

        Without it nothing would hold the student where the teacher is silent: it drifts into bytes that are no text,
        of which the teacher says nothing either.
        """
        student = self.accelerator.unwrap_model(self.model)
        initial_NH, head = self._initial_view(part)
        loss, found = chunked_divergence(
            hidden_NH[lost_N], head_of(student), initial_NH[lost_N], head, tokens_N[lost_N], weights_N[lost_N], FORWARD
        )
        seen.loss_N[lost_N] = self.anchor_weight * found.loss_N
        return loss

    def _count_signal(self, chunks: list[ChunkScores]) -> None:
        self._lost += sum((each.without_signal for each in chunks), Counter())
        self._asked += sum(len(each.chunks_N) for each in chunks)

    def _record(self, rollouts: list[Rollout], statistics: list[TokenStatistics]) -> None:
        """Also the share of this process's tokens that the teacher tells something of, and why not of the others."""
        super()._record(rollouts, statistics)
        if self._asked:
            self.measures.add("signal/share", 1 - self._lost.total() / self._asked)
            for reason in NoSignal:
                self.measures.add(f"signal/without_{reason}", self._lost[reason])


def _take_group(left: list[list[int]], requests: dict[int, Future[View]]) -> list[int]:
    """Takes the first group whose requests are all answered out of `left`; without one a half of the last group.

    That is the half that was asked about first, as the last group was: groups are sorted by length, and the short
    rollouts are known first. So what can't be learnt from yet is no more than has to be.
    """
    for number, group in enumerate(left):
        if all(requests[index].done() for index in group):
            return left.pop(number)
    group = left.pop()
    kept = len(group) // 2
    left += [group[:kept]] if kept else []
    return group[kept:]
