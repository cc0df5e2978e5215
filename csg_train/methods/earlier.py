"""Fields of methods that came later: what a run of an earlier version lacks keeps the value that it trained with.

What runs save is resolved, so what it lacks was added since. Most such fields default to what was done before; those
that do not are listed here.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["as_trained"]

_FIELDS: dict[str, dict[str, object]] = {
    **{name: {"update": "gradient"} for name in ("weight-l2", "si")},
    "ewc": {"update": "gradient", "spread": False},
    "domain-randomization": {"first": "styled", "over_styles": "sum"},
}


def as_trained(method: str, fields: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a method as a run saved them, with the values that it had of those added since."""
    return {**_FIELDS.get(method, {}), **fields}
