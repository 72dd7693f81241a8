"""Writes the general prompts: python data/general_prompts/make.py"""

import argparse
import json
from pathlib import Path
from random import Random

from prompts import knowing, talking, working, writing

HERE = Path(__file__).resolve().parent
SEED = 17
KINDS = knowing.KINDS | writing.KINDS | talking.KINDS | working.KINDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the file (default: beside this script)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    made = [row for name, kind in KINDS.items() for row in rows(name, kind.prompts(Random(f"{SEED} {name}")))]
    made = Random(SEED).sample(made, len(made))  # so that the first hundred are of all kinds
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in made)  # one row a line, for readable diffs
    path = out / "general_prompts.json"
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{path.name}: {len(made)} prompts of {len(KINDS)} kinds")


def rows(name: str, prompts: list[str]) -> list[dict]:
    capital = (prompt[0].upper() + prompt[1:] for prompt in prompts)
    return [{"id": f"{name}-{number:02}", "kind": name, "prompt": prompt} for number, prompt in enumerate(capital)]


if __name__ == "__main__":
    main()
