"""The training loop: TRL's SDFT trainer with a step of our own.

TRL keeps rows, sampling, optimizer, schedule and logging. The step between them is ours: its rollouts are regrouped
into micro-batches without padding, and learnt from as soon as the teacher's view of them is there. Whose view that
is and how it becomes a loss is the matter of `self_distillation` and `served_distillation`.

Shapes: N tokens in the loss, H hidden.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import is_peft_model
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from trl.experimental.sdft import SDFTConfig, SDFTTrainer
from trl.models.utils import _ForwardRedirection
from trl.trainer.utils import pad

from ..data.encoding import longest
from ..losses.divergence import Divergence, TokenStatistics, chunked_divergence
from ..models.hidden_states import check_head, head_of, predicting_states
from ..models.output_head import OutputHead
from ..models.sharded import in_step, is_sharded, reshard
from ..run.directory import RunDirectory
from . import kept_rollouts
from .measures import StepMeasures
from .microbatches import MicrobatchLimit, group_by_length, token_weights
from .order import EpochSeededSampler, ReplaySampler, ResumedOrder
from .replay import InitialStudent, Replay
from .rollout import Rollout, Sampler
from .samples import SampleRecorder
from .sharding import ShardedTraining
from .stopping import FiniteLoss, StoppableSteps

T = TypeVar("T")


class DistillationTrainer(ShardedTraining, ResumedOrder, StoppableSteps, FiniteLoss, SDFTTrainer):
    """Learns from a teacher's view of the student's own answers; the base of the two kinds of teacher.

    Rows are `{"prompt": token ids, "row": number}`. A batch of the data loader is a whole optimizer step:
    `per_device_train_batch_size` rollouts on each device.

    Args:
        run_directory: Where sample rollouts are recorded, and which engine was measured to be the fastest.
        limit: What bounds a micro-batch.
        normalization: `sequence` or `token`, see `trainer.training.microbatches.token_weights`.
        engine: Who samples, see `trainer.training.rollout`.
        replay: Prompts on which the initial student teaches; they stand behind the rows to learn.
        needs_initial: Whether the initial student is kept in any case.
    """

    args: SDFTConfig

    def __init__(
        self,
        *args: Any,
        run_directory: RunDirectory,
        limit: MicrobatchLimit,
        normalization: str = "sequence",
        engine: str = "generate",
        replay: Replay | None = None,
        needs_initial: bool = False,
        **kwargs: Any,
    ):
        self.limit = limit
        self.run_directory = run_directory
        self.replay = replay
        self.normalization = normalization
        self._rollouts: list[Rollout] | None = None
        super().__init__(*args, **kwargs)
        self.padding: Any = self._tokenizer.pad_token_id
        self.measures = StepMeasures(self.accelerator, self._metrics["train"])
        self.samples = SampleRecorder(run_directory, self._tokenizer, self.loss_temperature)
        self.sampler = self._make_sampler(engine)
        student = self.accelerator.unwrap_model(self.model)
        needs_initial = needs_initial or replay is not None
        self.initial = InitialStudent(student, self._frozen_twin()) if needs_initial else None
        self._through(self.model, partial(check_head, student, self.args.device))
        reshard(student)
        self.add_callback(self.measures)

    # ---- one optimizer step

    def training_step(self, model: Any, inputs: list[dict[str, Any]], num_items_in_batch: Any = None) -> Tensor:
        """One step of SDFT (arXiv 2601.19897), up to the gradient, which is then in `.grad`.

        The student answers, y ~ p_S(·|x); the teacher, shown more, views each token, p_T(·|x,c,y<t); the loss is the
        mean of D(p_T‖p_S) over the tokens. TRL's optimizer takes the gradient in, and an EMA teacher follows.
        """
        model.train()
        getattr(self.optimizer, "train", lambda: None)()  # schedule-free ones are told
        self.measures.begin()
        with self.given_up_without_teacher():
            return self._learn_step(model, inputs)

    def _learn_step(self, model: Any, inputs: list[dict[str, Any]]) -> Tensor:
        with self.measures.stage("rollout"):
            rollouts = self._prepare_inputs(inputs)
        self._record_completions(rollouts)
        self.stop_if_asked()
        chosen, weights = self._with_loss(rollouts)
        if self.is_world_process_zero():
            self.samples.watch(chosen[0], self.state.global_step, self.state.max_steps)
        with self.measures.stage("student"):
            loss, statistics = self._learn(model, chosen, weights)
        if self.args.torch_empty_cache_steps and self.state.global_step % self.args.torch_empty_cache_steps == 0:
            clear_device_cache()
        self._require_finite("loss", float(loss))
        self._record(chosen, statistics)
        self.measures.learnt()
        return loss

    def _learn(self, model: Any, rollouts: list[Rollout], weights: list[float]) -> tuple[Tensor, list[TokenStatistics]]:
        """Forward and backward of every micro-batch; the step's loss and each rollout's statistics."""
        total, found, microbatches = torch.zeros((), device=self.args.device), {}, 0
        for group, loss_of, view in self._viewed(rollouts):
            part = [rollouts[index] for index in group] or [self._without_tokens()]
            loss_of_part = partial(loss_of, part, [weights[index] for index in group] or [0.0], view)
            last = len(found) + len(group) == len(rollouts)
            # Sharded gradients are summed at once: whole ones, kept until the last micro-batch, would not fit.
            with nullcontext() if last or self.is_sharding else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss, statistics = self._through(model, loss_of_part)
                self.accelerator.backward(loss)
            total += loss.detach()
            if group:
                found |= zip(group, statistics.split(self._tokens_in_loss(part)), strict=True)
            microbatches += 1
            if not last:
                self.stop_if_asked()
        self.measures.add("microbatches", microbatches)
        return total, [found[index] for index in range(len(rollouts))]

    def _viewed(self, rollouts: list[Rollout]) -> Iterator[tuple[list[int], Callable[..., Any], Any]]:
        """Groups of rollouts, by their indices, with what makes their loss and what their teacher thinks of them.

        A group of none is there for passes of other processes through sharded weights.
        """
        by_whom = {False: (self._teacher_views, self._microbatch_loss), True: (self._unviewed, self._replay_loss)}
        for is_replayed, (views, loss_of) in by_whom.items():
            indices = [index for index, rollout in enumerate(rollouts) if self._is_replayed(rollout) == is_replayed]
            some = [rollouts[index] for index in indices]
            lengths = [len(rollout.prompt_ids) + len(rollout.completion_ids) for rollout in some]
            groups = group_by_length(lengths, self.limit)
            # Also without any of its own a process takes part in the passes of others through sharded weights.
            for taken in self._in_step(views(some, groups)) if some or self.is_sharding else ():
                group, view = taken or ([], None)
                yield [indices[index] for index in group], loss_of, view

    # ---- what is replayed

    def _is_replayed(self, rollout: Rollout) -> bool:
        return self._is_replayed_row(rollout.row)

    def _is_replayed_row(self, number: int) -> bool:
        return self.replay is not None and self.replay.has(number)

    def _unviewed(self, rollouts: list[Rollout], groups: list[list[int]]) -> Iterator[tuple[list[int], None]]:
        yield from ((group, None) for group in groups)

    def _replay_loss(self, part: list[Rollout], weights: list[float], view: None) -> tuple[Tensor, TokenStatistics]:
        """The forward KL from the initial student, which reads what the student does."""
        student, prompts = self.accelerator.unwrap_model(self.model), [rollout.prompt_ids for rollout in part]
        initial_NH, head = self._initial_view(part)
        student_NH = self._states(student, part, prompts)
        tokens_N, weights_N, _ = self._tokens_of(part, weights, student_NH.device)
        forward = Divergence(temperature=self.loss_temperature)
        return chunked_divergence(student_NH, head_of(student), initial_NH, head, tokens_N, weights_N, forward)

    def _initial_view(self, part: list[Rollout]) -> tuple[Tensor, OutputHead]:
        """The initial student's states [N, H] at the tokens in the loss, and its head."""
        assert self.initial is not None
        with self.initial.model() as initial:
            states = partial(self._states, initial, part, [rollout.prompt_ids for rollout in part])
            # With LoRA it is the student, within whose forward pass this already is.
            is_student = initial is self.accelerator.unwrap_model(self.model)
            return states() if is_student else self._through(initial, states), head_of(initial)

    def _frozen_twin(self) -> Any:
        """The initial student's weights, spread as the student's are; None where its own copy will do."""
        return self.sharded_twin() if self.is_sharding and not is_peft_model(self.model) else None

    # ---- what each kind of teacher has of its own

    @property
    def loss_temperature(self) -> float:
        """Of the two distributions that are compared."""
        return self.args.temperature

    def _make_sampler(self, engine: str) -> Sampler:
        return Sampler(self, engine, longest(self.train_dataset, "prompt"))  # pyright: ignore

    def _begin_step(self, rows: list[int]) -> None:
        """Hook: the rows that the student is about to answer."""

    # Hook, called with row and completion as soon as a completion is whole, while others are still sampled.
    _rollout_known: Callable[[int, list[int]], object] | None = None

    @property
    def _tell_of_rollout(self) -> Callable[[int, list[int]], object] | None:
        """The hook, which is not told of what is replayed."""
        known, replay = self._rollout_known, self.replay
        if known is None or replay is None:
            return known
        return lambda row, completion: None if replay.has(row) else known(row, completion)

    @abstractmethod
    def _teacher_views(self, rollouts: list[Rollout], groups: list[list[int]]) -> Iterator[tuple[list[int], Any]]:
        """The groups of rollouts, by their indices, or parts of them, with what the teacher thinks of them.

        They come in the order to learn; every rollout is in one of them.
        """

    @abstractmethod
    def _microbatch_loss(self, part: list[Rollout], weights: list[float], view: Any) -> tuple[Tensor, TokenStatistics]:
        """The share of a group in the step's loss, and what was seen at its tokens, rollout after rollout.

        Without a view there are no tokens: this process only takes part in a pass that another one needs.
        """

    def _in_step(self, parts: Iterator[T]) -> Iterator[T | None]:
        """The parts; of sharded weights as many on every process, None where this one has none left."""
        return in_step(parts, self.args.device) if self.is_sharding else parts

    def _without_tokens(self) -> Rollout:
        """A rollout of no row, of one token and of none in the loss."""
        return Rollout(-1, [self.padding], [])

    # ---- rollouts and their tokens

    def _get_train_sampler(self, dataset: Any = None) -> EpochSeededSampler:
        theirs = vars(super()._get_train_sampler(dataset))
        names = ("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
        known = {name: theirs[name] for name in names}
        if self.replay is None:
            return EpochSeededSampler(**known)
        at_once = self.args.per_device_train_batch_size // self.num_generations
        trained = known["data_source"].num_rows - len(self.replay.prompts)
        return ReplaySampler(**known, trained=trained, share=self.replay.share, at_once=at_once)

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]]) -> list[Rollout]:
        """The step's rollouts: new ones, or with `num_iterations` > 1 those of the step before."""
        if self._rollouts is None or self.state.global_step % self.num_iterations == 0:
            numbers = [row["row"] for row in generation_batch]
            self._begin_step([number for number in numbers if not self._is_replayed_row(number)])
            self._rollouts = self.sampler.sample(generation_batch, self._tell_of_rollout)
        return self._rollouts

    def _with_loss(self, rollouts: list[Rollout]) -> tuple[list[Rollout], list[float]]:
        """Those with a token in the loss, and the weight of each of their tokens.

        If none has one it is the shortest, so that there is a gradient, of 0, to share with other processes.
        """
        weighted = list(zip(rollouts, self._token_weights(rollouts), strict=True))
        skip = self.args.num_loss_tokens_to_skip
        chosen = [(rollout, weight) for rollout, weight in weighted if len(rollout.completion_ids) > skip]
        chosen = chosen or [min(weighted, key=lambda pair: len(pair[0].prompt_ids))]
        return [rollout for rollout, _ in chosen], [weight for _, weight in chosen]

    def _token_weights(self, rollouts: list[Rollout]) -> list[float]:
        counts = self._tokens_in_loss(rollouts)
        total = torch.tensor(float(sum(counts)), device=self.args.device)
        mean_over_processes: Any = self.accelerator.reduce(total, "mean")
        return token_weights(counts, self.normalization, float(mean_over_processes))

    def _tokens_in_loss(self, rollouts: list[Rollout]) -> list[int]:
        skip = self.args.num_loss_tokens_to_skip
        return [max(len(rollout.completion_ids) - skip, 0) for rollout in rollouts]

    def _tokens_of(
        self, part: list[Rollout], weights: list[float], device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The tokens in the loss, their weights, and where known the log-probabilities that sampled them; each [N]."""
        counts, skip = self._tokens_in_loss(part), self.args.num_loss_tokens_to_skip
        tokens = [token for rollout in part for token in rollout.completion_ids[skip:]]
        weights_N = [weight for weight, count in zip(weights, counts, strict=True) for _ in range(count)]
        logps = [logp for rollout in part for logp in (rollout.logps or [])[skip:]]
        return (
            torch.tensor(tokens, dtype=torch.int64, device=device),
            torch.tensor(weights_N, dtype=torch.float32, device=device),
            torch.tensor(logps, dtype=torch.float32, device=device) if logps else None,
        )

    # ---- passes through the model

    def compute_loss_context_manager(self) -> Any:
        """Autocast where `--bf16` asks for it: accelerate has it in the model's `forward`, which is not called."""
        return self.accelerator.autocast()

    def _through(self, model: Any, compute: Callable[[], T]) -> T:
        """Call `compute` inside the forward of a data-parallel wrapper, which gets ready for the backward there.

        A sharded model gathers there what it needs. On GPUs the wrapper takes a forward without any argument for an
        error, hence the one that is ignored.
        """
        inner = self.accelerator.unwrap_model(model)
        if inner is model and not is_sharded(model):
            return compute()
        return _ForwardRedirection()(model, inner, lambda _: compute(), None)

    def _states(self, model: Any, part: list[Rollout], prompts: list[list[int]]) -> Tensor:
        """Last hidden states [N, H] at the tokens in the loss, each completion behind its prompt."""
        completions = [rollout.completion_ids for rollout in part]
        return predicting_states(model, prompts, completions, self.args.num_loss_tokens_to_skip, self.padding)

    def _wait_for_all(self, requests: Sequence[Future[Any]]) -> None:
        """Until each of the requests is answered; the seconds are told apart where one was not."""
        if all(request.done() for request in requests):
            return
        with self.measures.stage("waiting"):
            for request in requests:
                self.wait_for_any([request])

    # ---- what a step tells

    def _record_completions(self, rollouts: list[Rollout]) -> None:
        """TRL's statistics of the completions."""
        completions = [torch.tensor(rollout.completion_ids, device=self.args.device) for rollout in rollouts]
        lengths = torch.tensor([len(ids) for ids in completions], device=self.args.device)
        padded = pad(completions, padding_value=self.padding)
        self._record_completion_metrics("train", {"completion_ids": padded, "raw_completion_lengths": lengths})

    def _record(self, rollouts: list[Rollout], statistics: list[TokenStatistics]) -> None:
        """Metrics over the tokens in the loss, the log-probabilities that later iterations need, a sample."""
        has_ratios = any(rollout.logps for rollout in self._rollouts or [])
        pairs = [*zip(rollouts, statistics, strict=True)]
        taught = [seen for rollout, seen in pairs if not self._is_replayed(rollout)]
        taught = taught or statistics[0].split([0, len(statistics[0].loss_N)])[:1]  # of no tokens
        self.measures.add_tokens(TokenStatistics.join(taught), self.args.distillation_is_clip if has_ratios else None)
        if self.replay is not None:
            self.measures.add_replayed([seen.loss_N for rollout, seen in pairs if self._is_replayed(rollout)])
        self.measures.add_costs()
        if self.num_iterations > 1 and not self.generate_from_teacher:
            self._keep_logps(rollouts, statistics)
        if self.is_world_process_zero():
            self.samples.write(rollouts[0], self.state.global_step + 1, statistics[0])

    def _keep_logps(self, rollouts: list[Rollout], statistics: list[TokenStatistics]) -> None:
        """In the first of several iterations the weights are those that sampled; tokens out of the loss need none."""
        for rollout, seen in zip(rollouts, statistics, strict=True):
            if rollout.logps is None:
                skipped = len(rollout.completion_ids) - len(seen.logp_N)
                rollout.logps = [0.0] * skipped + seen.logp_N.tolist()

    def _look_closer(self, part: list[Rollout], **models: tuple[Tensor, OutputHead]) -> None:
        """Show what each model, given by its states [N, H] and head, expected at the tokens of the step's sample."""
        span = self.samples.span_in(part, self._tokens_in_loss(part))
        if span is not None:
            for name, (hidden_NH, head) in models.items():
                self.samples.look_closer(name, hidden_NH[span], head)

    # ---- what a checkpoint keeps

    def _save_more(self, folder: Path) -> None:
        if self._rollouts is not None and self.state.global_step % self.num_iterations:
            kept_rollouts.keep(folder, self.args.process_index, self._rollouts)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        student = self.accelerator.unwrap_model(self.model)
        # Older releases of transformers miss it where the teacher's adapter lies beside it.
        if is_peft_model(student) and not self.is_sharding:
            student.load_adapter(resume_from_checkpoint, str(student.active_adapter), is_trainable=True)
        sequences, process = self.args.per_device_train_batch_size, self.args.process_index
        self._rollouts = kept_rollouts.kept(Path(resume_from_checkpoint), process, sequences) or self._rollouts
