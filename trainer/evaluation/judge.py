"""A local model answers rows greedily, and finds their golden texts more or less likely. Shapes: B rows, T tokens."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..data.actions.thinking import has_thinking_mark, strip_thinking
from ..data.prompts import Prompt, PromptEncoder, report_cuts
from ..data.rows.row import Row
from ..errors import Stopped
from ..models.architecture import equally_long, sees_padding
from ..models.decoding import generate
from ..models.student import end_token_ids
from ..run.progress import Progress
from .scorer import Scorer
from .scores import Answer, judge, require_checks


class Judge:
    """Asks a model every row and judges its answers.

    Args:
        encoder: Renders prompts for the model.
        batch_size: Rows decoded together.
        with_demonstration: Show each row's context, or else its golden response, in its prompt.
        should_stop: Asked between batches; True ends the scoring.
        shows_progress: Whether to tell how far it is, and how many prompts were cut.
        scorer: The user's verifier.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        batch_size: int,
        *,
        with_demonstration: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        shows_progress: bool = True,
        scorer: Scorer | None = None,
    ):
        self.encoder = encoder
        self.batch_size = batch_size
        self.with_demonstration = with_demonstration
        self.should_stop = should_stop
        self.shows_progress = shows_progress
        self.scorer = scorer

    def answers(self, model: PreTrainedModel, rows: list[Row], title: str) -> list[Answer]:
        """Answers in row order. The model is left in the mode it was in.

        Raises:
            Stopped: a stop was requested.
            UsageError: a row's check means nothing, or the scorer fails.
        """
        require_checks(rows)
        encoded = [self._prompt(row) for row in rows]
        if self.shows_progress:
            report_cuts(f"prompts of {title} were cut to fit", sum(prompt.was_cut for prompt in encoded), len(encoded))
        prompts = [prompt.ids for prompt in encoded]
        by_length = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
        batches = [by_length[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        answers: dict[int, Answer] = {}
        told = Progress(len(rows), f"eval {title}") if self.shows_progress else contextlib.nullcontext()
        with evaluating(model), told as progress:
            for batch in batches:
                if self.should_stop():
                    raise Stopped("stopped while evaluating; the same command does it again")
                chosen = [rows[i] for i in batch]
                judged = self._judge_batch(model, chosen, [prompts[i] for i in batch], title)
                answers.update(zip(batch, judged, strict=True))
                if progress is not None:
                    progress.advance(len(batch))
        return [answers[i] for i in range(len(rows))]

    def _prompt(self, row: Row) -> Prompt:
        if self.with_demonstration:
            text = self.encoder.shown_text(row)
            assert text is not None, row.id
            return self.encoder.demonstration_prompt(row, text)
        return self.encoder.student_prompt(row)

    def _judge_batch(
        self, model: PreTrainedModel, rows: list[Row], prompts: list[list[int]], title: str
    ) -> Iterable[Answer]:
        scorer = self.scorer.of(title) if self.scorer else None
        tokenizer: Any = self.encoder.tokenizer
        golden = [self.encoder.golden_text(row) for row in rows]
        targets = [self.encoder.target(text or "").ids for text in golden]
        losses = target_nll(model, prompts, targets, pad_id=tokenizer.pad_token_id)
        ends = end_token_ids(model, tokenizer)
        completions = decode_greedily(model, tokenizer, prompts, ends, self.encoder.max_completion_length)
        for row, ids, nll, known in zip(rows, completions, losses, golden, strict=True):
            text, marked = read_answer(tokenizer, ids)
            known_nll = None if known is None else nll
            ended = bool(ids) and ids[-1] in ends
            yield judge(row, text, len(ids), ended, known_nll, scorer=scorer, marked=marked)


def read_answer(tokenizer: Any, ids: list[int]) -> tuple[str, str]:
    """The answer without thinking and special tokens, and with the special tokens that mark calls."""
    plain, marked = tokenizer.decode(ids, skip_special_tokens=True), tokenizer.decode(ids)
    if has_thinking_mark(marked) and not has_thinking_mark(plain):  # the marks are special tokens
        plain = strip_thinking(marked)
        for token in tokenizer.all_special_tokens:
            plain = plain.replace(token, "")
    return strip_thinking(plain).strip(), strip_thinking(marked).strip()


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
    if sees_padding(model) and len({*map(len, prompts)}) > 1:
        found: dict[int, list[int]] = {}
        for group in equally_long(prompts):
            some = [prompts[index] for index in group]
            found |= zip(group, decode_greedily(model, tokenizer, some, ends, limit), strict=True)
        return [found[index] for index in range(len(prompts))]
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
    return generate(model, prompts, greedy)


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
