"""State dicts as training scripts save them: in a field of a larger file, or with a prefix before every name."""

from collections.abc import Collection, Container, Mapping
from typing import Any

from csg_train.errors import UserError

__all__ = ["found_below", "unprefixed", "unwrapped"]

_FIELDS = ("state_dict", "model_state_dict", "model")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema")
"""Where scripts put a state dict among other values; the second, of a moving average of the weights."""
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Of DataParallel and torch's AveragedModel, of torch.compile, of Lightning."""
_DEEPEST = 8
_COUNTER = "n_averaged"
"""Beside the names of an AveragedModel."""


def unwrapped(content: Any, *, field: str | None, origin: str, choice: str) -> tuple[Any, dict[str, Any]]:
    """The state dict in what a script saved, and the values beside it, by name.

    Args:
        content: Of the file.
        field: The field that is meant, where there are several (weights, and their moving average); else None.
        origin: Names the file in errors.
        choice: Says in errors how a field is named.

    Returns:
        What holds no known field is the state dict itself, or no state dict at all: the caller's to judge.

    Raises:
        UserError: There are several state dicts and ``field`` names none, or one that is not there.
    """
    rest: dict[str, Any] = {}
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            return content, rest
        there = [name for name in (*_FIELDS, *_AVERAGES) if isinstance(content.get(name), Mapping)]
        if field is not None and field not in there:
            raise UserError(f"{origin}: no state dict in the field {field!r}; there is {', '.join(there) or 'none'}")
        if len(there) > 1 and field is None:
            raise UserError(f"{origin}: holds several state dicts ({', '.join(there)}); {choice}")
        if not there:
            return _without_counter(content, rest), rest
        chosen, field = field or there[0], None
        rest |= {str(name): value for name, value in content.items() if name != chosen}
        content = content[chosen]
    raise UserError(f"{origin}: its state dict lies deeper than {_DEEPEST} fields, or in itself; save it alone")


def _without_counter(state: Mapping[str, Any], rest: dict[str, Any]) -> Mapping[str, Any]:
    """An AveragedModel's names without its counter, which goes to the ``rest``."""
    names = {name: value for name, value in state.items() if name != _COUNTER}
    if len(names) == len(state) or _prefix(names, ()) != "module.":
        return state
    rest[_COUNTER] = state[_COUNTER]
    return names


def unprefixed(state: Mapping[str, Any], own: Container[str] = ()) -> Mapping[str, Any]:
    """The state dict without the prefixes that wrappers put before every name, however many; ``own`` names stay."""
    while (prefix := _prefix(state, own)) is not None:
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _prefix(state: Mapping[str, Any], own: Container[str]) -> str | None:
    if not state or any(key in own for key in state):
        return None
    return next((prefix for prefix in _PREFIXES if all(str(key).startswith(prefix) for key in state)), None)


def found_below(state: Mapping[str, Any], own: Collection[str]) -> tuple[str, list[str]] | None:
    """What a state dict has before every name of a network, as in ``net.conv1.weight``, and its names without that.

    Returns:
        The prefix and the other names; None where the network's names are there as they are, or not all with one.
    """
    longest = max(own, key=len)
    for key in map(str, state):
        prefix = key.removesuffix(longest)
        if prefix != key and prefix.endswith(".") and all(f"{prefix}{name}" in state for name in own):
            return prefix, [other for other in map(str, state) if not other.startswith(prefix)]
    return None
