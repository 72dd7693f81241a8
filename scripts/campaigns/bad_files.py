"""Files of bad content: rows in any container, tables of odd columns, altered files of a run."""

import contextlib
import io
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from campaigns.mutations import damaged, json_text, mutated

ODD_YAML = (  # the one of many names grows eightfold with each
    "\n---\nsecond: document\n",
    "\n\tx: 1\n",
    "\nx: !!python/object/apply:os.system ['true']\n",
    "\nx: &a [*a]\n",
    "\nx: *none\n",
    "\n? [a, b]\n: 1\n",
    "\nx: 2026-99-99\n",
    "\nx: 0x\n",
    "\n<<: 5\n",
    "\nx: !!binary ÄÄ\n",
    "\nx: !!set {a, b}\n",
    "\nx: 12:30:45\n",
    "".join(
        [
            "\na: &a [x]",
            *(f"\n{name}: &{name} [{','.join([f'*{inner}'] * 8)}]" for inner, name in pairwise("abcdefghi")),
        ]
    ),
    "\n%YAML 9.9\n",
    "\x07",
    "\nx: .inf\ny: .nan\n",
    "\nyes: no\n",
    "\n1: 2\n",
    "\nnull: null\n",
    "\nx: 1_000\n",
    "\n" + "[" * 2000,
)


def contained(records: list[Any], container: str, draw: random.Random) -> bytes:
    """Records as a file of some kind; JSON where the kind can't hold them."""
    import csv

    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    objects = [record for record in records if isinstance(record, dict)]
    if container in ("csv", "tsv"):
        names = list(dict.fromkeys(str(name) for record in objects for name in record)) or ["prompt"]
        text = io.StringIO()
        table = csv.DictWriter(
            text, names, delimiter="\t" if container == "tsv" else ",", lineterminator=draw.choice(("\n", "\r\n"))
        )
        table.writeheader()
        table.writerows({name: record.get(name, "") for name in names} for record in objects)
        return text.getvalue().encode("utf-8", "surrogatepass")
    if container in ("parquet", "arrow"):
        with contextlib.suppress(pyarrow.ArrowException, TypeError, ValueError, OverflowError, RecursionError):
            rows = pyarrow.Table.from_pylist(objects) if draw.random() < 0.7 else odd_table(draw)
            sink = pyarrow.BufferOutputStream()
            if container == "parquet":
                pyarrow.parquet.write_table(rows, sink)
            else:
                with draw.choice((pyarrow.ipc.new_file, pyarrow.ipc.new_stream))(sink, rows.schema) as writer:
                    writer.write_table(rows)
            return sink.getvalue().to_pybytes()
    texts = [json_text(record, draw) for record in records]
    if container == "jsonl":
        return draw.choice(("\n", "\r\n", "\n\n", "")).join(texts).encode("utf-8", "surrogatepass")
    if container == "columns" and objects:
        columns = {name: {str(n): record.get(name) for n, record in enumerate(objects)} for name in objects[0]}
        return json_text(columns, draw).encode("utf-8", "surrogatepass")
    whole = f"[{','.join(texts)}]"
    return (f'{{"version": 1, "data": {whole}}}' if container == "wrapped" else whole).encode("utf-8", "surrogatepass")


def odd_table(draw: random.Random) -> Any:
    """A table with columns of types that JSON has not."""
    import datetime
    import decimal

    import pyarrow

    columns = {
        "prompt": ["q?", None],
        "golden_response": ["a.", "b."],
        "when": [datetime.datetime(2026, 1, 1), None],
        "price": [decimal.Decimal("1.5"), None],
        "raw": [b"\xff", b"x"],
        "day": [datetime.date(2026, 1, 1)] * 2,
        "messages": [[{"role": "user", "content": "q?"}], None],
        "map": [[("a", 1)], None],
        "id": [1, 2],
        "span": [datetime.timedelta(1), None],
        "flags": [True, None],
        "none": [None, None],
    }
    kept = draw.sample(list(columns), draw.randint(1, len(columns)))
    swapped = draw.choice(kept)
    types = {"map": pyarrow.map_(pyarrow.string(), pyarrow.int64()), "raw": pyarrow.binary()}
    made = {name: pyarrow.array(columns[name], types.get(name)) for name in kept}
    if draw.random() < 0.5:
        made[draw.choice(("prompt", "golden_response", "messages", "tools", "check", "id"))] = made[swapped]
    if draw.random() < 0.3:
        made["prompt"] = pyarrow.array(["q?", "r?"]).dictionary_encode()
    return pyarrow.table(made)


def alter(run: Path, draw: random.Random) -> None:
    """What people, editors, copies and disks do to a file of a run."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    readable = [path for path in files if path.suffix in (".json", ".jsonl", ".yaml")]
    file = draw.choice(readable if draw.random() < 0.8 else files)
    kind = draw.random()
    content = file.read_bytes()
    if kind < 0.1:
        file.unlink()
    elif kind < 0.15:
        file.unlink()
        draw.choice((file.mkdir, lambda: file.symlink_to("nowhere"), lambda: file.symlink_to(file)))()
    elif kind < 0.35 or file not in readable:
        file.write_bytes(damaged(content, draw))
    else:
        with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):  # it may have been altered before
            file.write_bytes(_edited(file.suffix, content, draw).encode("utf-8", "surrogatepass"))


def _edited(suffix: str, content: bytes, draw: random.Random) -> str:
    """The text of a file with a value of it changed."""
    if suffix == ".jsonl":
        lines = [json.loads(line) for line in content.splitlines() if line.strip()] or [{}]
        chosen = draw.randrange(len(lines))
        lines[chosen] = mutated(lines[chosen], draw)
        return "".join(json_text(line, draw) + "\n" for line in lines)
    document = json.loads(content) if suffix == ".json" else yaml.safe_load(content)
    return json_text(mutated(document, draw), draw)
