"""What is wrong with a recipe, in a recipe's words; and in what two recipes differ."""

import datetime
import reprlib
from collections.abc import Mapping
from typing import Any

__all__ = ["differences", "in_words", "shown"]

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 100
_SECTION = "it should be a section of keys and values"
_WORDS = {
    "missing": "missing; add it",
    "string_type": "it should be text",
    "invalid_key": "a key is text; put it in quotes, or remove it",
    "path_type": "it should be a path",
    "int_type": "it should be a whole number",
    "int_parsing": "it should be a whole number",
    "int_from_float": "it should be a whole number",
    "float_type": "it should be a number",
    "float_parsing": "it should be a number",
    "bool_type": "it should be true or false",
    "bool_parsing": "it should be true or false",
    "tuple_type": "it should be a list, [A, B]",
    "list_type": "it should be a list, [A, B]",
    "dict_type": _SECTION,
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "dataclass_type": _SECTION,
    "int_parsing_size": "it should be a whole number of fewer digits",
    "string_too_short": "it should be text, and is empty",
}
_FORMS = {
    "union_tag_invalid": "unknown {discriminator} {tag}; allowed: {expected_tags}",
    "union_tag_not_found": "the key {discriminator}, which says of what kind it is, is missing; add it",
    "too_short": "it should have at least {min_length}",
    "too_long": "it should have at most {max_length}",
    "string_pattern_mismatch": "it should have letters, digits, '.', '_' and '-' alone, a letter or digit first",
}
_UNQUOTED = (bool, int, float, datetime.date)
"""What YAML makes of text without quotes."""


def in_words(fault: Mapping[str, Any], *others: Mapping[str, Any]) -> str:
    """A fault that pydantic found: what it should be, and what was given; ``others`` are of the field's other forms."""
    words = ", or ".join(dict.fromkeys(map(_meant, (fault, *others))))
    if not fault["loc"] or (fault["type"] == "value_error" and isinstance(fault["input"], Mapping)):
        return words  # of how sections or fields go together
    return f"{words} (given: {shown(fault['input'])})" if fault["type"] != "missing" else words


def _meant(fault: Mapping[str, Any]) -> str:
    context = dict(fault.get("ctx", {}))
    if "discriminator" in context:  # in quotes, and null as None
        context["discriminator"] = key = context["discriminator"].strip("'")
        context["tag"] = shown(fault["input"].get(key) if isinstance(fault["input"], Mapping) else fault["input"])
    form = _FORMS.get(fault["type"], "").format_map(context)
    words = (
        _WORDS.get(fault["type"])
        or form
        or fault["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    )
    unquoted = isinstance(fault["input"], _UNQUOTED) or fault["loc"][-1:] == ("[key]",)  # null, as a name
    if fault["type"] in ("string_type", "path_type") and unquoted:
        words = f"{words}; put it in quotes"
    elif fault["type"] == "path_type" and isinstance(fault["input"], Mapping | list):
        words = f"{words}; put it in quotes where it holds ': ', brackets or braces"
    elif fault["type"] == "path_type" and fault["input"] is None:
        words = f"{words}; ~ alone and nothing are null: put it in quotes"
    return words


def shown(value: Any) -> str:
    """A value in short, however large: that of a damaged checkpoint may have more parts than there is time for."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, datetime.date):
        return f"the date {value}"
    try:
        return _SHOWN.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Every field in which two recipes of plain values differ, by its dotted name, with both values."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return [] if then == now else [f"{name} ({shown(then)} there, {shown(now)} here)"]
    pairs = ((f"{name}.{key}".lstrip("."), then.get(key), now.get(key)) for key in then | now)
    return [field for inner, old, new in pairs for field in differences(old, new, inner)]
