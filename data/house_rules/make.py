"""Writes the house rules: python data/house_rules/make.py"""

import argparse
import json
from pathlib import Path
from random import Random

from rules import act, calling, codewords, reasons, room_codes
from rules.rule import SPLITS, Question

HERE = Path(__file__).resolve().parent
SEED = 17
RULES = {
    "act": act.RULE,
    "codewords": codewords.RULE,
    "reasons": reasons.RULE,
    "calling": calling.RULE,
    "room_codes": room_codes.RULE,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the files (default: beside this script)")
    out = parser.parse_args().out
    for name, rule in RULES.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "context.txt").write_text(rule.context, encoding="utf-8")
        rng = Random(f"{SEED} {name}")  # changing one rule changes no row of another
        shares = rule.shares(rng)
        for split in SPLITS:
            questions = rng.sample(shares[split], len(shares[split]))
            write(folder / f"{split}.json", [row(name, split, n, q) for n, q in enumerate(questions)])


def row(name: str, split: str, number: int, question: Question) -> dict:
    return {
        "id": f"{name}-{split.removesuffix('_data')}-{number:02}",
        "skill": name,
        "entities": question.entities,
        "prompt": question.prompt,
        "golden_response": [question.answer],
        **question.verdict,
    }


def write(path: Path, rows: list[dict]) -> None:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)  # one row a line, for readable diffs
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{path.parent.name}/{path.name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
