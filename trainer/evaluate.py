"""Scores of a model: does it answer right, and how likely does it find the golden text?

Greedy decoding. A row with a golden answer is right when the actions and all their inputs are, one with a `check`
(`trainer.evaluation.verify`) when it passes, any other when the text is the golden text. Shapes: B rows, T tokens.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from trainer.answers import golden_actions, parse_actions, same_inputs, same_sequence, strip_thinking
from trainer.atomic import write_json
from trainer.config import Eval
from trainer.dataset import BadRow, Row, load_rows
from trainer.errors import Stopped, UsageError
from trainer.evaluation.verify import passes, require_known
from trainer.progress import Progress
from trainer.prompts import Prompt, PromptEncoder, report_cuts
from trainer.resolve import Resolved
from trainer.student import context_window, encoder_for, end_token_ids, load_student, load_tokenizer


@dataclass(frozen=True)
class Answer:
    """One row's answer and how it was judged; None where the row has no golden answer."""

    id: str
    text: str
    tokens: int
    ended: bool
    right: bool
    right_sequence: bool | None
    right_inputs: bool | None
    same_text: bool
    nll: float


@dataclass(frozen=True)
class Scores:
    """Means over rows.

    Attributes:
        rows: Number of rows.
        accuracy: Fraction of right rows.
        action_sequence: Fraction with the golden actions in order; None without golden answers.
        action_inputs: Fraction whose inputs all agree; None without golden answers.
        same_text: Fraction whose text is the golden text.
        nll: Negative log-likelihood of the golden response and its end of turn, in nats a token, mean over rows.
        mean_length: Tokens of an answer.
        cut_off: Fraction of answers that met the length limit.
    """

    rows: int
    accuracy: float
    action_sequence: float | None
    action_inputs: float | None
    same_text: float
    nll: float
    mean_length: float
    cut_off: float


def run(resolved: Resolved) -> int:
    """The `eval` subcommand: prints a table, writes `--output_file` where given."""
    settings: Eval = resolved.settings
    if settings.output_file is not None and not Path(settings.output_file).parent.is_dir():
        raise UsageError(f"no folder for --output_file {settings.output_file}. Make it, or name another file.")
    files = {"new_skill": settings.eval_data_path, "prior_skills": settings.prior_data_path}
    rows = {
        name: load_rows(path, skip_bad_rows=settings.skip_bad_rows)[: settings.max_eval_samples]
        for name, path in files.items()
        if path is not None
    }
    window = context_window(settings)
    encoder = encoder_for(settings, load_tokenizer(settings), window, settings.teacher_prompt_template)
    judge = Judge(encoder, settings.per_device_eval_batch_size, with_demonstration=settings.with_demonstration)
    model: Any = load_student(settings)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    answers = {name: judge.answers(model, some, name) for name, some in rows.items()}
    scores = {name: summarize(some) for name, some in answers.items()}
    print(table(scores))
    if settings.output_file is not None:
        write_json(
            Path(settings.output_file),
            {
                "model": settings.model_name_or_path,
                "scores": {name: dataclasses.asdict(score) for name, score in scores.items()},
                "answers": {name: [dataclasses.asdict(a) for a in some] for name, some in answers.items()},
            },
        )
    return 0


class Judge:
    """Asks a model every row and judges its answers.

    Args:
        encoder: Renders prompts for the model.
        batch_size: Rows decoded together.
        with_demonstration: Show each row's golden response in its prompt.
        should_stop: Asked between batches; True ends the scoring.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        batch_size: int,
        *,
        with_demonstration: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.encoder = encoder
        self.batch_size = batch_size
        self.with_demonstration = with_demonstration
        self.should_stop = should_stop

    def answers(self, model: PreTrainedModel, rows: list[Row], title: str) -> list[Answer]:
        """Answers in row order. The model is left in the mode it was in.

        Raises:
            Stopped: a stop was requested.
            UsageError: a row's check means nothing.
        """
        require_checks(rows)
        encoded = [self._prompt(row) for row in rows]
        report_cuts(f"prompts of {title} were cut to fit", sum(prompt.was_cut for prompt in encoded), len(encoded))
        prompts = [prompt.ids for prompt in encoded]
        by_length = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
        batches = [by_length[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        answers: dict[int, Answer] = {}
        with evaluating(model), Progress(len(rows), f"eval {title}") as progress:
            for batch in batches:
                if self.should_stop():
                    raise Stopped("stopped while evaluating; the same command does it again")
                chosen = [rows[i] for i in batch]
                answers.update(zip(batch, self._judge_batch(model, chosen, [prompts[i] for i in batch]), strict=True))
                progress.advance(len(batch))
        return [answers[i] for i in range(len(rows))]

    def _prompt(self, row: Row) -> Prompt:
        if self.with_demonstration:
            assert row.golden_response is not None
            return self.encoder.demonstration_prompt(row, row.golden_response)
        return self.encoder.student_prompt(row)

    def _judge_batch(self, model: PreTrainedModel, rows: list[Row], prompts: list[list[int]]) -> Iterable[Answer]:
        tokenizer: Any = self.encoder.tokenizer
        targets = [self.encoder.target(row.golden_response or "").ids for row in rows]
        losses = target_nll(model, prompts, targets, pad_id=tokenizer.pad_token_id)
        ends = end_token_ids(model, tokenizer)
        completions = decode_greedily(model, tokenizer, prompts, ends, self.encoder.max_completion_length)
        for row, ids, nll in zip(rows, completions, losses, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            yield judge(row, strip_thinking(text).strip(), len(ids), bool(ids) and ids[-1] in ends, nll)


@contextlib.contextmanager
def evaluating(model: PreTrainedModel):
    """Evaluation mode, no gradients, bfloat16 autocast on CUDA devices that compute in it."""
    was_training = model.training
    model.eval()
    bf16 = model.device.type == "cuda" and torch.cuda.is_bf16_supported()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            yield
    finally:
        model.train(was_training)


def decode_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    ends: list[int],
    limit: int,
) -> list[list[int]]:
    """Completions of at most `limit` tokens, each with the end token it stopped at, if it did."""
    batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
    # transformers fills what is not said here from the model's own configuration, penalties included.
    greedy = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        max_new_tokens=limit,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
    )
    output_BT = model.generate(**batch, generation_config=greedy)  # pyright: ignore[reportCallIssue]
    width = batch["input_ids"].shape[1]
    return [_until_end(ids, set(ends)) for ids in output_BT[:, width:].tolist()]


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    stop = next((position for position, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: stop + 1]


def target_nll(
    model: PreTrainedModel, prompts: list[list[int]], targets: list[list[int]], *, pad_id: int
) -> list[float]:
    """Negative log-likelihood of each target after its prompt, in nats, mean over the target's tokens."""
    device = model.device
    sequences = [torch.tensor(p + t) for p, t in zip(prompts, targets, strict=True)]
    ids_BT = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=pad_id).to(device)
    lengths_B = torch.tensor([len(s) for s in sequences], device=device)
    starts_B = torch.tensor([len(p) for p in prompts], device=device)
    positions_T = torch.arange(ids_BT.shape[1], device=device)
    present_BT = positions_T < lengths_B[:, None]
    keep = int((ids_BT.shape[1] - starts_B).max()) + 1
    logits_BTV = model(input_ids=ids_BT, attention_mask=present_BT.long(), logits_to_keep=keep).logits[:, :-1]
    kept_BT = ids_BT[:, -(keep - 1) :]
    in_target_BT = (present_BT & (positions_T >= starts_B[:, None]))[:, -(keep - 1) :]
    loss_BT = F.cross_entropy(logits_BTV.float().transpose(1, 2), kept_BT, reduction="none")
    return ((loss_BT * in_target_BT).sum(-1) / in_target_BT.sum(-1)).tolist()


def has_check(row: Row) -> bool:
    """Whether a program decides if an answer to the row is right."""
    check = row.extra.get("check")
    return isinstance(check, dict) and "kind" in check


def require_checks(rows: list[Row]) -> None:
    """Raise UsageError for the first row with a check that means nothing."""
    for row in filter(has_check, rows):
        try:
            require_known(row.extra["check"])
        except BadRow as error:
            raise UsageError(f"row {row.id}: {error}") from error


def judge(row: Row, text: str, tokens: int, ended: bool, nll: float) -> Answer:
    """How right `text` is as the answer of `row`."""
    same_text = text == (row.golden_response or "").strip()
    if row.golden_answer is None:
        right = passes(row.extra["check"], text) if has_check(row) else same_text
        return Answer(row.id, text, tokens, ended, right, None, None, same_text, nll)
    found, golden = parse_actions(text), golden_actions(row.golden_answer)
    sequence, inputs = same_sequence(found, golden), same_inputs(found, golden)
    return Answer(row.id, text, tokens, ended, sequence and inputs, sequence, inputs, same_text, nll)


def summarize(answers: list[Answer]) -> Scores:
    """Means over the answers."""
    return Scores(
        rows=len(answers),
        accuracy=_mean(a.right for a in answers),
        action_sequence=_mean_of_known(a.right_sequence for a in answers),
        action_inputs=_mean_of_known(a.right_inputs for a in answers),
        same_text=_mean(a.same_text for a in answers),
        nll=_mean(a.nll for a in answers),
        mean_length=_mean(a.tokens for a in answers),
        cut_off=_mean(not a.ended for a in answers),
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _mean_of_known(values: Iterable[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if known else None


def table(scores: dict[str, Scores]) -> str:
    """Scores as a small text table."""
    columns = [f.name for f in dataclasses.fields(Scores)]
    lines = [f"{'':14}" + "  ".join(columns)]
    for name, score in scores.items():
        cells = [f"{_shown(column, getattr(score, column)):>{len(column)}}" for column in columns]
        lines.append(f"{name:14}" + "  ".join(cells))
    return "\n".join(lines)


def _shown(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column in ("rows", "nll", "mean_length"):
        return f"{value:g}" if column == "rows" else f"{value:.2f}"
    return f"{value:.1%}"
