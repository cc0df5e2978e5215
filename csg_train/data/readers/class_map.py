"""Which ids or colours of masks are which class: ``classes.yaml``, of the user or one of those in ``class_maps/``.

::

    classes:              # in training order
      road: [7, 8]        # several ids to one class
      car: 26
    ignore: [0, 255]      # neither trained on nor counted

or colours in place of ids, ``car: "#00008e"``. What is in neither is an error where a mask has it.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csg_train.data.readers.images import require_same_classes
from csg_train.data.readers.masks import IGNORE, MaskedSet
from csg_train.errors import UserError
from csg_train.names import absent
from csg_train.yaml_files import read_yaml

__all__ = ["ClassMap", "mapped", "packaged_maps", "read_class_map"]

_FOLDER = Path(__file__).parent / "class_maps"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_FORM = "give 'classes' (a name, then its ids or colours) and perhaps 'ignore' (ids or colours); see docs/data.md"


@dataclass(frozen=True)
class ClassMap:
    """A mapping file.

    Attributes:
        origin: The file, as errors name it.
        classes: Names in the file's order.
        ids: Id, or colour as ``0xrrggbb``, to the place in ``classes`` or to `IGNORE`.
        colours: Whether they are colours.
    """

    origin: str
    classes: tuple[str, ...]
    ids: dict[int, int]
    colours: bool


def packaged_maps() -> list[str]:
    """Names of the mapping files that come with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in _FOLDER.glob("*.yaml"))


def read_class_map(name_or_path: Path) -> ClassMap:
    """Read a mapping file, or one of `packaged_maps` by its name.

    Raises:
        UserError: No such file, another content, an id or colour twice, or ids beside colours.
    """
    path = _FOLDER / f"{name_or_path}.yaml" if str(name_or_path) in packaged_maps() else name_or_path
    try:
        value = read_yaml(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such mapping file{absent(path)}; give a file or one of: {', '.join(packaged_maps())}"
        ) from error
    match value:
        case {"classes": {**content}, **others} if content and set(others) <= {"ignore"}:
            named: dict[Any, Any] = content
            ignored = others.get("ignore")
        case _:
            raise UserError(f"{path}: not a mapping of classes; {_FORM}")
    if len(named) > IGNORE or not all(isinstance(name, str) and name.strip() for name in named):
        raise UserError(f"{path}: classes: needs 1 to {IGNORE} names; what YAML reads otherwise is put in quotes")
    ids: dict[int, int] = {}
    kinds: set[type] = set()
    for place, (name, entries) in enumerate([*named.items(), ("ignore", [] if ignored is None else ignored)]):
        for entry in entries if isinstance(entries, list) else [entries]:
            key = _key(entry, name, path)
            kinds.add(type(entry))
            if len(kinds) > 1:
                raise UserError(f"{path}: has ids and colours; the masks of a set have one of them")
            if key in ids:
                raise UserError(f"{path}: {name}: {entry} is there twice; an id or colour belongs to one class")
            ids[key] = place if place < len(named) else IGNORE
    if missing := [name for place, name in enumerate(named) if place not in ids.values()]:
        raise UserError(f"{path}: {missing[0]}: no id or colour; add one or remove the class")
    return ClassMap(str(path), tuple(named), ids, kinds == {str})


def _key(entry: Any, name: str, path: Path) -> int:
    if isinstance(entry, str) and _COLOUR.fullmatch(entry):
        return int(entry[1:], 16)
    if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < 1 << 16:
        return entry
    raise UserError(f"{path}: {name}: {entry!r} is no id of 0 to 65535 and no colour '#rrggbb' (in quotes); fix it")


def mapped(images: MaskedSet, class_map: ClassMap, classes: Sequence[str] | None = None) -> MaskedSet:
    """The set with its masks read by the mapping alone.

    Args:
        images: Pictures and masks.
        class_map: Of what is in the mask files.
        classes: Class names in training order, which the mapping must have in whatever order; by default its own.

    Raises:
        UserError: The classes differ, or the masks' layout has ids and the mapping colours.
    """
    wanted = class_map.classes if classes is None else tuple(classes)
    require_same_classes(f"{class_map.origin}: classes", class_map.classes, wanted)
    if class_map.colours and images.sixteen_bit:
        raise UserError(f"{class_map.origin}: colours, and the masks of {images.name} have ids; write ids")
    places = [*(wanted.index(name) for name in class_map.classes)]
    ids = {key: place if place == IGNORE else places[place] for key, place in class_map.ids.items()}
    return dataclasses.replace(images, classes=wanted, ids=ids, colours=class_map.colours, class_map=class_map.origin)
