"""All training rows as token ids, once for each who reads them; memory-mapped, and kept for the next start."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import datasets
import datasets.table
import pyarrow
import pyarrow.compute

from ..errors import UsageError
from ..run.shares import SHARE, in_shares
from . import batches
from .dataset import Rows
from .privileged import require_shown
from .prompts import Prompt, PromptEncoder, report_cuts
from .refusals import without_refused
from .rows.kept import cache, kept_table
from .rows.row import BadRow, Row

compute: Any = pyarrow.compute

KEPT_AS = 1  # counts up when encoded rows change their form
BATCH = 500  # rows that are tokenized together
IDS = pyarrow.list_(pyarrow.int32())
TABLE = pyarrow.schema(
    [
        ("prompt", IDS),
        ("target", IDS),
        ("prompt_cut", pyarrow.bool_()),
        ("other_cut", pyarrow.bool_()),
        ("refusal", pyarrow.string()),
    ]
)


class Encoded:
    """Encoded rows, one of each row.

    Args:
        table: Of the columns of `TABLE`.
    """

    def __init__(self, table: datasets.Dataset):
        self.table = table.with_format("arrow")

    def __len__(self) -> int:
        return len(self.table)

    def prompts(self) -> datasets.Dataset:
        """Rows for objectives with rollouts: the prompt as the student reads it, and the number of its row."""
        self._report("prompt_cut", "prompts lost their beginning to --max_prompt_length")
        numbers = range(len(self))
        return self.table.with_format(None).select_columns("prompt").add_column("row", list(numbers))  # type: ignore

    def supervised(self) -> datasets.Dataset:
        """Rows for `sft`: prompt and target, with the loss on the target and its end of turn."""
        self._report("prompt_cut", "prompts lost their beginning to --max_prompt_length")
        self._report("other_cut", "targets lost their end to --max_completion_length")

        def joined(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
            pairs = list(zip(batch["prompt"], batch["target"], strict=True))
            return {
                "input_ids": [prompt + target for prompt, target in pairs],
                "labels": [[-100] * len(prompt) + target for prompt, target in pairs],
            }

        return self.table.with_format(None).map(joined, batched=True, remove_columns=self.table.column_names)

    def report_shown(self) -> None:
        """Say how many demonstrations lose their end."""
        self._report("other_cut", "demonstrations lost their end to --max_completion_length or the context")

    def _report(self, column: str, what: str) -> None:
        cut: Any = self.table.data.column(column)
        report_cuts(what, compute.sum(cut).as_py() or 0, len(self))


def longest(rows: datasets.Dataset, column: str) -> int:
    """Tokens of the longest list in a column."""
    return compute.max(compute.list_value_length(rows.with_format("arrow").data.column(column))).as_py() or 0


def encode(
    rows: Sequence[Row],
    encoder: PromptEncoder,
    path: str,
    *,
    other: str = "nothing",
    needs_shown: bool = False,
    skip_bad_rows: bool = False,
) -> tuple[Sequence[Row], Encoded]:
    """The rows that a model can read, and how it reads them.

    Args:
        path: The file that they come from, for people.
        other: What is done beside the prompt: `target`: the golden response is encoded; `shown`: the prompt must have
            room for the row's own context or demonstration; `room`: for one that is not known yet; `nothing`.
        needs_shown: Whether a row must have a context or a golden response.
        skip_bad_rows: Drop rows that can't be read, and print how many and why.

    Raises:
        UsageError: a row can't be read; names file and row.
        Stopped: SIGINT or SIGTERM.
    """
    parts = partial(_parts, rows, encoder, other, needs_shown)
    if isinstance(rows, Rows) and len(rows) > SHARE:
        key = f"{KEPT_AS}/{rows.fingerprint}/{encoder.fingerprint}/{other}/{needs_shown}"
        try:
            table = kept_table(key, lambda file: _write(parts(), file))
        except OSError as error:
            raise UsageError(
                f"can't keep the encoded rows in {cache()}: {error.strerror}. Free some room there, or set "
                "HF_DATASETS_CACHE to a folder that has some."
            ) from error
    else:
        table = datasets.Dataset(datasets.table.InMemoryTable(pyarrow.concat_tables(parts())))
    refusals: Any = table.data.column("refusal")
    known = compute.indices_nonzero(compute.is_valid(refusals)).to_pylist()
    refused = {number: refusals[number].as_py() for number in known}
    kept = without_refused(rows, path, refused, skip_bad_rows=skip_bad_rows)
    if refused:
        left = [number for number in range(len(rows)) if number not in refused]
        table = table.select(left).flatten_indices()
    return kept, Encoded(table)


def readable(
    rows: Sequence[Row],
    encoder: PromptEncoder,
    path: str,
    *,
    shown: bool = False,
    shown_own: bool = False,
    skip_bad_rows: bool = False,
) -> list[Row]:
    """The rows to score that a model can read and whose golden response it could write, found without its weights.

    Args:
        path: The file that they come from, for people.
        shown: Whether their prompts are also shown with a demonstration, which must have room there.
        shown_own: Whether that is the row's own one, or its context, which it then has to have.
        skip_bad_rows: Drop the others, and print how many and why.

    Raises:
        UsageError: a row can't be read; names file and row.
    """
    kept, _ = encode(rows, encoder, path, other="target", skip_bad_rows=skip_bad_rows)
    if shown or shown_own:
        kept, _ = encode(kept, encoder, path, other="room", needs_shown=shown_own, skip_bad_rows=skip_bad_rows)
    return [*kept]


def _write(parts: Sequence[pyarrow.Table], path: str) -> None:
    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_stream(file, TABLE) as writer:
        for table in parts:
            writer.write_table(table)


def _parts(rows: Sequence[Row], encoder: PromptEncoder, other: str, needs_shown: bool) -> list[pyarrow.Table]:
    def share(start: int, end: int) -> pyarrow.Table:
        batches = [(at, min(at + BATCH, end)) for at in range(start, end, BATCH)]
        records = [record for at, to in batches for record in _records(rows[at:to], encoder, other, needs_shown)]
        return pyarrow.Table.from_pylist(records, schema=TABLE)

    return in_shares(len(rows), share, "encoding")


def _records(rows: Sequence[Row], encoder: PromptEncoder, other: str, needs_shown: bool) -> Iterator[dict[str, Any]]:
    texts = batches.prompt_texts(encoder, rows)
    lacking = [_lacking(row) if needs_shown else None for row in rows]
    targets = batches.targets(encoder, rows) if other == "target" else [None] * len(rows)
    cuts: Sequence[Any] = [target.was_cut if isinstance(target, Prompt) else None for target in targets]
    if other in ("shown", "room"):
        cuts = batches.are_shown_cut(encoder, rows, texts, own=other == "shown")
    for lack, prompt, target, cut in zip(lacking, batches.prompts(encoder, texts), targets, cuts, strict=True):
        refusal = next((each for each in (lack, prompt, target, cut) if isinstance(each, BadRow)), None)
        if refusal is not None or isinstance(prompt, BadRow):
            yield {"prompt": [], "refusal": str(refusal)}
        else:
            ids = target.ids if isinstance(target, Prompt) else None
            yield {"prompt": prompt.ids, "prompt_cut": prompt.was_cut, "target": ids, "other_cut": cut}


def _lacking(row: Row) -> BadRow | None:
    try:
        require_shown(row)
    except BadRow as error:
        return error
    return None
