"""Values of Arrow tables as JSON has them.

A table's columns hold one type, so a struct has every key of every row: keys that a row lacks are null there. They are
left out, as JSON rows leave them out.
"""

import json
from typing import Any

import datasets


def as_json(feature: Any, value: Any) -> Any:
    """`value` of a column as JSON; what JSON lacks stays as it is."""
    if value is None:
        return None
    if isinstance(feature, datasets.Json):
        return json.loads(value)
    if isinstance(feature, dict):
        return {key: as_json(feature[key], item) for key, item in value.items() if item is not None}
    if isinstance(feature, datasets.List | datasets.LargeList):
        return [as_json(feature.feature, item) for item in value]
    return value
