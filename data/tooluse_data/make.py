"""Writes the train, eval and sample rows and the tool catalogue: python data/tooluse_data/make.py"""

import argparse
import json
from pathlib import Path

from tooluse.catalogue import TOOLS
from tooluse.rows import sample, splits

HERE = Path(__file__).resolve().parent
SEED, TRAIN_ROWS, EVAL_ROWS, SAMPLE_ROWS = 20, 2200, 300, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the files (default: beside this script)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    train, evaluation = splits(SEED, TRAIN_ROWS, EVAL_ROWS)
    write(out / "train_data.json", train)
    write(out / "eval_data.json", evaluation)
    write(out / "sample_train.json", sample(train, SAMPLE_ROWS))
    write(out / "tools.json", catalogue())


def catalogue() -> list[dict]:
    return [
        {
            "name": t.name,
            "domain": t.domain,
            "seen": not t.unseen,
            "description": t.does,
            "parameters": t.schema,
        }
        for t in TOOLS.values()
    ]


def write(path: Path, rows: list[dict]) -> None:
    """One row a line, so that a diff shows which rows changed."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{path.name}: {len(rows)} entries, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
