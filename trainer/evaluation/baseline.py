"""What became of the answers to the same rows since an earlier evaluation."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data.rows.row import Row
from ..errors import UsageError
from .outcome import Right, change, in_points, known
from .scores import Answer


def read(path: str, rows: Mapping[str, Sequence[Row]]) -> Mapping[str, Right]:
    """Which rows an earlier evaluation had right, of those that are right or wrong.

    Args:
        path: An `--output_file` of `eval`, or a run's `scores_before.json`.

    Raises:
        UsageError: no such file, or it has other rows; rows are told from each other by their ids.
    """
    try:
        answers = json.loads(Path(path).read_text(encoding="utf-8"))["answers"]
        earlier = {title: {answer["id"]: answer["right"] for answer in some} for title, some in answers.items()}
    except OSError as error:
        raise UsageError(f"can't read --baseline {path}: {error.strerror}.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--baseline {path} holds no answers. Expected an --output_file of `eval`, or a run's scores_before.json."
        ) from error
    shared = [sum(row.id in earlier[title] for row in some) for title, some in rows.items() if title in earlier]
    if not all(shared) or not shared:
        counts = ", ".join(f"{len(some)} of {title}" for title, some in earlier.items()) or "none"
        raise UsageError(
            f"--baseline {path} has answers to other rows ({counts}): no id is in both. "
            "Score the rows that it was made from: --eval_data_path FILE --prior_data_path FILE."
        )
    return {title: known(some) for title, some in earlier.items()}


def changes(earlier: Mapping[str, Right], answers: Mapping[str, Sequence[Answer]]) -> dict[str, dict[str, float]]:
    """`trainer.evaluation.outcome.change` by what was measured both times."""
    pairs = {
        title: change(earlier.get(title, {}), known({answer.id: answer.right for answer in some}))
        for title, some in answers.items()
    }
    return {title: changed for title, changed in pairs.items() if changed is not None}


def told(changes: Mapping[str, Mapping[str, float]]) -> str:
    """The changes, a line each."""
    if not changes:
        return "nothing in both is right or wrong, so no accuracy is compared; NLL and similarity stand in both files."
    return "\n".join(
        f"{title:14}{c['before']:.1%} → {c['after']:.1%}{in_points(dict(c))}  {c['rows']} rows are in both"
        for title, c in changes.items()
    )
