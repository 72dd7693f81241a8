"""Writes the prior-skill suite: python data/prior_suite/make.py"""

import argparse
import json
from pathlib import Path

from suite.rows import rows

HERE = Path(__file__).resolve().parent
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the file (default: beside this script)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    made = rows(SEED)
    path = out / "prior_suite.json"
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in made)  # one row a line, for readable diffs
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{path.name}: {len(made)} rows, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
