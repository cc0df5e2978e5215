"""Reading a recipe: one YAML file, what it extends, and what the command line changes; resolved, and written again."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from csg_train.errors import UserError
from csg_train.methods.table import METHODS
from csg_train.names import absent
from csg_train.recipes.domains import HoldoutDomain, LabelledDomain, MaskedDomain, PicturesDomain
from csg_train.recipes.earlier import as_trained, is_of_a_run
from csg_train.recipes.faults import in_words, shown
from csg_train.recipes.options import AVERAGES
from csg_train.recipes.packaged import RECIPES, packaged_recipe, packaged_recipes
from csg_train.recipes.sections import Recipe
from csg_train.splits import SPLITS
from csg_train.yaml_files import parse_yaml_value, read_yaml

__all__ = ["load_recipe", "parse_recipe", "to_yaml"]

_KINDS: dict[str, type[BaseModel]] = AVERAGES | {
    name: kind
    for kind in (*get_args(LabelledDomain | MaskedDomain), HoldoutDomain, PicturesDomain)
    for name in get_args(kind.model_fields["dataset"].annotation)
}


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), *, weights: str | None = None) -> Recipe:
    """Read a packaged recipe by name, or any YAML file by path, and apply ``key.sub=value`` overrides.

    Where a packaged recipe has a row for each method, ``method.name=csg`` asks for the published settings of that row:
    ``gta5-resnet50`` with it trains what ``gta5-resnet50-csg`` does.

    ``weights`` takes the place of ``model.weights`` as it is: a path is no YAML.

    The ``recipe.yaml`` of a run's folder says what that run did, whichever version wrote it.

    Raises:
        UserError: No such recipe, not YAML, an unknown key, or a value out of range.
    """
    if isinstance(overrides, str | bytes | Mapping | None):
        raise UserError(f"load_recipe: overrides={overrides!r}; give a list, ['train.steps=100']")
    methods = [number for number, override in enumerate(overrides) if _key(override) == "method.name"]
    method = overrides[methods[-1]].partition("=")[2].strip(" '\"") if methods else ""
    kept = [override for number, override in enumerate(overrides) if number not in methods[:-1]]
    if name_or_path in packaged_recipes():
        path, value = Path(f"{name_or_path}.yaml"), {"extends": name_or_path, "name": name_or_path}
    else:
        path = Path(name_or_path)
        value = _read(path, name_or_path)
    value = _extended(value, name_or_path, method)
    value = as_trained(value) if is_of_a_run(path) else value
    return parse_recipe(value, overrides=kept, origin=path.name, weights=weights)


def _row(name: str, method: str) -> str:
    """The packaged recipe that has the settings of the method, beside ``name``; that itself where there is none."""
    rows = (f"{base}-{method}" for base in (name, read_yaml(RECIPES / f"{name}.yaml").get("extends")))
    return next((row for row in rows if row in packaged_recipes()), name)


def _extended(value: Any, asked: str, method: str) -> Any:
    """With what it ``extends``, a packaged recipe, whose sections it replaces; with a method, that one's row of it."""
    if not isinstance(value, dict) or "extends" not in value:
        return value
    if (name := value["extends"]) not in packaged_recipes():
        raise UserError(
            f"{asked}: extends {shown(name)}, no packaged recipe; choose from: {', '.join(packaged_recipes())}"
        )
    own = {key: section for key, section in value.items() if key != "extends"}
    row = _row(name, method)
    match own:
        case {"method": {"name": other}} if row != name and other != method:
            del own["method"]
    return packaged_recipe(row) | own


def _read(path: Path, asked: str) -> Any:
    try:
        return read_yaml(path)
    except FileNotFoundError as error:
        known = ", ".join(packaged_recipes())
        raise UserError(f"{asked}: no such recipe{absent(path)}; give a YAML file or one of: {known}") from error


def parse_recipe(value: Any, *, overrides: Sequence[str] = (), origin: str, weights: str | None = None) -> Recipe:
    """Check a recipe given as plain data; ``origin`` names it in errors, ``weights`` takes the place of its own."""
    if not isinstance(value, dict):
        raise UserError(f"{origin}: a recipe is a mapping of keys to values; see {RECIPES}")
    value = copy.deepcopy(value)  # the caller's stays
    for number, override in enumerate(overrides):
        _apply(value, override, [_key(one) for one in overrides[:number]])
    if weights is not None:
        value["model"] = {**(value.get("model") or {}), "weights": weights}
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{origin}: {_explain(error, value)}") from error


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.as_dict(), sort_keys=False, allow_unicode=True)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _apply(value: dict[str, Any], override: str, before: Sequence[str]) -> None:
    """Set one key, ``before`` which others were: what one says, no later one takes back without a word."""
    key, (_, separator, text) = _key(override), override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: expected key=value, for instance train.steps=100")
    try:
        parsed = parse_yaml_value(text)
    except ValueError as error:
        unknown = any("\udc80" <= letter <= "\udcff" for letter in text)  # bytes that the locale did not decode
        reason = (
            "this locale does not know its letters; set PYTHONUTF8=1" if unknown else f"the value is not YAML ({error})"
        )
        raise UserError(f"--set {override}: {reason}") from error
    if lost := [one for one in before if one.startswith(f"{key}.")]:
        raise UserError(f"--set {override}: replaces {lost[0]}, set before it; leave one out, or set {key} first")
    fields = value.get("method")
    if key == "method.name" and not (isinstance(fields, dict) and fields.get("name") == parsed):
        # the fields of another method do not carry over
        own = fields.items() if isinstance(fields, dict) else ()
        value["method"] = {name: setting for name, setting in own if f"method.{name}" in before}
    *parents, last = key.split(".")
    node = value
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise UserError(f"--set {override}: {part} is a value, not a section")
    node[last] = parsed


def _explain(error: ValidationError, given: dict[str, Any]) -> str:
    """One line for the first fault: where, what, and what would be allowed."""
    errors = error.errors(include_url=False)
    if not errors[0]["loc"]:  # two fields that do not go together, named in the message
        return str(errors[0]["msg"]).removeprefix("Value error, ")
    beside = [one for one in errors if one["type"] == "extra_forbidden" and one["loc"][:-1] == errors[0]["loc"][:-1]]
    if beside and errors[0]["type"] == "missing":  # under another name, perhaps
        errors = [beside[0], *errors]
    start = _place(errors[0], given)
    *_, deepest = sorted((_place(one, given) for one in errors if _place(one, given)[: len(start)] == start), key=len)
    first, *others = (one for one in errors if _place(one, given) == deepest)  # several: a field of several forms
    where = (".".join(map(str, deepest)) or "a key") + (": a name" if first["loc"][-1:] == ("[key]",) else "")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key; allowed: {', '.join(_fields_at(first['loc'][:-1], given)) or 'none'}"
    return f"{where}: {in_words(first, *others)}"


def _place(fault: Mapping[str, Any], given: Any) -> tuple[int | str, ...]:
    """Where a fault is in what was given, without what pydantic says of the forms that a field may have."""
    loc = fault["loc"][:-2] if fault["loc"][-1:] == ("[key]",) else fault["loc"]
    place: list[int | str] = []
    for part in loc:
        here = part in given if isinstance(given, Mapping) else isinstance(given, list) and isinstance(part, int)
        if here and (isinstance(given, Mapping) or len(given) > int(part)):
            place.append(part)
            given = given[part]
        elif part == loc[-1] and fault["type"] == "missing":
            place.append(part)
    return tuple(place)


def _fields_at(loc: tuple[int | str, ...], given: dict[str, Any]) -> list[str]:
    if loc == ("method",):
        return list(METHODS[given["method"]["name"]].Config.__dataclass_fields__)
    node: Any = Recipe
    for part in loc:
        if part in _KINDS:
            node = _KINDS[str(part)]
        elif part in SPLITS:
            continue
        else:
            kind = node.model_fields[str(part)].annotation
            node = next(iter(get_args(kind)), kind)  # of an optional section, the section
    return list(node.model_fields)
