"""State dicts as training scripts save them: in a field of a larger file, or with a prefix before every name."""

from collections.abc import Mapping
from typing import Any

__all__ = ["FIELDS", "unprefixed", "wrapped"]

FIELDS = ("state_dict", "model_state_dict", "model")
"""Where scripts put a state dict among other values."""
_PREFIXES = {
    "module.": "as DataParallel saves it",
    "_orig_mod.": "as torch.compile saves it",
    "model.": "as Lightning saves it",
}


def unprefixed(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict without the prefixes that wrappers put before every name, however many."""
    while (prefix := _prefix(state)) is not None:
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def wrapped(content: Any, own: Mapping[str, Any]) -> str | None:
    """How a file wraps what could be the state dict ``own``; None where it does not."""
    if not isinstance(content, Mapping):
        return None
    field = next((name for name in FIELDS if name not in own and isinstance(content.get(name), Mapping)), None)
    if field is not None:
        return f"holds its state dict in the field {field!r}"
    if (prefix := _prefix(content)) is not None and not any(key in own for key in content):
        return f"every name begins with {prefix!r}, {_PREFIXES[prefix]}"
    return None


def _prefix(state: Mapping[str, Any]) -> str | None:
    every = (prefix for prefix in _PREFIXES if state and all(str(key).startswith(prefix) for key in state))
    return next(every, None)
