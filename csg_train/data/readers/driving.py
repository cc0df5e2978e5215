"""Street scenes in their official layouts: Cityscapes, GTA5 and SYNTHIA (RAND_CITYSCAPES), one table of classes.

Sources: the label tables of Cityscapes (Cordts et al., CVPR 2016), whose ids GTA5 (Richter et al., ECCV 2016) shares,
and the README of SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from csg_train.data.readers.listing import LeftOut, listing
from csg_train.data.readers.lists import inside, list_lines, require_once
from csg_train.data.readers.masks import IGNORE, MaskedSet
from csg_train.errors import UserError
from csg_train.names import absent

__all__ = ["CLASSES", "LABELS", "SYNTHIA_CLASSES", "cityscapes", "gta5", "synthia"]


class Label(NamedTuple):
    """A class: its name, id in ``labelIds`` and GTA5 files, id in SYNTHIA's files (None: none there), colour."""

    name: str
    id: int
    synthia_id: int | None
    colour: tuple[int, int, int]


LABELS = (
    Label("road", 7, 3, (128, 64, 128)),
    Label("sidewalk", 8, 4, (244, 35, 232)),
    Label("building", 11, 2, (70, 70, 70)),
    Label("wall", 12, 21, (102, 102, 156)),
    Label("fence", 13, 5, (190, 153, 153)),
    Label("pole", 17, 7, (153, 153, 153)),
    Label("traffic light", 19, 15, (250, 170, 30)),
    Label("traffic sign", 20, 9, (220, 220, 0)),
    Label("vegetation", 21, 6, (107, 142, 35)),
    Label("terrain", 22, None, (152, 251, 152)),
    Label("sky", 23, 1, (70, 130, 180)),
    Label("person", 24, 10, (220, 20, 60)),
    Label("rider", 25, 17, (255, 0, 0)),
    Label("car", 26, 8, (0, 0, 142)),
    Label("truck", 27, None, (0, 0, 70)),
    Label("bus", 28, 19, (0, 60, 100)),
    Label("train", 31, None, (0, 80, 100)),
    Label("motorcycle", 32, 12, (0, 0, 230)),
    Label("bicycle", 33, 11, (119, 11, 32)),
)
"""The 19 classes in order of their training ids."""

CLASSES = tuple(label.name for label in LABELS)
SYNTHIA_CLASSES = tuple(label.name for label in LABELS if label.synthia_id is not None)
"""The 16 classes that SYNTHIA shares; what it files under terrain, truck and train is too rare to be used."""

_CITYSCAPES_RAW, _GTA5_RAW, _SYNTHIA_RAW = range(34), range(35), range(23)  # 34 of GTA5: licence plates
_CITYSCAPES_LICENCE = "Cityscapes terms: registration, non-commercial research, no redistribution"
_GTA5_LICENCE = "GTA5: non-commercial research and education; the pictures are of Rockstar Games' game"
_SYNTHIA_LICENCE = "SYNTHIA: CC-BY-NC-SA-3.0"


def _ids(raw: range, known: Mapping[str, int], classes: Sequence[str]) -> dict[int, int]:
    """Every raw id to its place in ``classes``, the others to `IGNORE`."""
    return {**dict.fromkeys(raw, IGNORE), **{known[name]: place for place, name in enumerate(classes)}}


def _chosen(classes: Sequence[str] | None, known: tuple[str, ...], root: Path) -> tuple[str, ...]:
    """The classes to label: those asked for, in their order, all of them known."""
    chosen = known if classes is None else tuple(classes)
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(f"{root}: no labels for {', '.join(unknown)} here; it knows {', '.join(known)}")
    return chosen


def _folder(path: Path, layout: str) -> Path:
    if not path.is_dir():
        raise UserError(f"{path}: no such folder{absent(path)}; expected {layout}")
    return path


def cityscapes(root: Path, split: str, *, classes: Sequence[str] | None = None, train_ids: bool = True) -> MaskedSet:
    """Read ``leftImg8bit/{split}/{city}/*_leftImg8bit.png`` with ``gtFine/{split}/{city}/*_gtFine_labelIds.png``.

    Where a split has no ``labelIds``, ``*_gtFine_labelTrainIds.png`` (of Cityscapes' own script) are read.

    Args:
        root: The folder of both.
        split: ``train``, ``val`` or ``test``.
        classes: Some of the 19 `CLASSES`, for instance `SYNTHIA_CLASSES`; pixels of the others are ignored.
        train_ids: Whether ``labelTrainIds`` will do, whose ids a mapping file does not know.

    Raises:
        UserError: A folder is missing or empty, or a picture has no mask.
    """
    layout = f"leftImg8bit/{split}/CITY/NAME_leftImg8bit.png and gtFine/{split}/CITY/NAME_gtFine_labelIds.png"
    folder = _folder(root / "leftImg8bit" / split, layout)
    found = listing(root, folder)
    files = [file for file in found.files if file.endswith("_leftImg8bit.png")]
    others = [LeftOut(file, "not of the layout") for file in found.files if not file.endswith("_leftImg8bit.png")]
    if not files:
        raise UserError(f"{folder}: no *_leftImg8bit.png; expected {layout}")
    chosen = _chosen(classes, CLASSES, root)
    known = {label.name: label.id for label in LABELS}
    ids, kind = _ids(_CITYSCAPES_RAW, known, chosen), "labelIds"
    if train_ids and not any((root / _gt_fine(file, kind)).is_file() for file in files):
        known = {name: train_id for train_id, name in enumerate(CLASSES)}
        ids, kind = {**_ids(range(len(CLASSES)), known, chosen), IGNORE: IGNORE}, "labelTrainIds"
    masks = [_gt_fine(file, kind) for file in files]
    _all_there(root, masks)
    _none_alone(root, root / "gtFine" / split, masks, f"_gtFine_{kind}.png")
    left_out = (*found.left_out, *others)
    return MaskedSet(
        f"cityscapes:{split}", root, tuple(files), tuple(masks), chosen, ids, _CITYSCAPES_LICENCE, left_out=left_out
    )


def _gt_fine(file: str, kind: str) -> str:
    name = file.removeprefix("leftImg8bit/").removesuffix("_leftImg8bit.png")
    return f"gtFine/{name}_gtFine_{kind}.png"


def _none_alone(root: Path, folder: Path, masks: Sequence[str], ending: str = ".png") -> None:
    """Refuse masks whose pictures are missing: a copy that broke off would be measured on a part of the set."""
    if alone := sorted({file for file in listing(root, folder).files if file.endswith(ending)} - set(masks)):
        raise UserError(
            f"{root / alone[0]}: a mask without its picture ({len(alone)} are); unpack the data set again, or remove it"
        )


def _all_there(root: Path, files: Sequence[str]) -> None:
    if missing := [file for file in files if not (root / file).is_file()]:
        path = root / missing[0]
        raise UserError(f"{path}: no such file{absent(path)} ({len(missing)} are missing); unpack the data set again")


def gta5(
    root: Path, split: Literal["train", "val", "test", "all"], *, classes: Sequence[str] | None = None
) -> MaskedSet:
    """Read ``images/NNNNN.png`` (or ``.jpg``) with ``labels/NNNNN.png``, palette PNGs of the 35 original ids.

    The pairs of a split are the lines ``images/NNNNN.png labels/NNNNN.png`` of ``gta5_{split}.txt`` in ``root``.
    Without ``gta5_train.txt`` the training split is every pair, and the name of the set says so. GTA5 holds pairs of
    different size, see `csg_train.data.readers.masks.mismatches`: leave them out of the list.

    Args:
        root: The folder of ``images`` and ``labels``.
        split: Whose list to read; ``all`` takes every pair.
        classes: Some of the 19 `CLASSES`; pixels of the others are ignored.

    Raises:
        UserError: A folder, the list or a file is missing, the list is empty, or a line is not a pair of paths or has
            two different numbers.
    """
    layout = "images/NNNNN.png and labels/NNNNN.png"
    path, name = root / f"gta5_{split}.txt", f"gta5:{split}"
    left_out: tuple[LeftOut, ...] = ()
    if split != "all" and path.is_file():
        lines: dict[str, int] = {}
        pairs = [_pair(line, root, path, number, lines) for number, line in list_lines(path)]
        if not pairs:
            raise UserError(f"{path}: an empty list; add a line 'images/NNNNN.png labels/NNNNN.png' for each picture")
    elif split in ("all", "train"):
        found = listing(root, _folder(root / "images", layout))
        labels = [PurePosixPath(file.replace("images/", "labels/", 1)).with_suffix(".png") for file in found.files]
        pairs = [(file, str(label)) for file, label in zip(found.files, labels, strict=True)]
        left_out = found.left_out
        if twice := [str(label) for label, count in Counter(labels).items() if count > 1]:
            raise UserError(f"{root / twice[0]}: has two pictures of its name, which differ in the suffix; keep one")
        if (root / "labels").is_dir():  # else the first mask is missing
            _none_alone(root, root / "labels", [str(label) for label in labels])
        name = "gta5:all" if split == "all" else f"gta5:all pairs (no {path.name})"
    else:
        raise UserError(f"{path}: no such list; write lines 'images/NNNNN.png labels/NNNNN.png', or use split train")
    for column in zip(*pairs, strict=True):
        _all_there(root, column)
    chosen = _chosen(classes, CLASSES, root)
    ids = _ids(_GTA5_RAW, {label.name: label.id for label in LABELS}, chosen)
    files, masks = tuple(file for file, _ in pairs), tuple(mask for _, mask in pairs)
    return MaskedSet(name, root, files, masks, chosen, ids, _GTA5_LICENCE, left_out=left_out)


def _pair(line: str, root: Path, path: Path, number: int, lines: dict[str, int]) -> tuple[str, str]:
    parts = line.split()
    if len(parts) != 2:
        raise UserError(f"{path}:{number}: {line!r} is not 'images/NNNNN.png labels/NNNNN.png'; fix the line")
    picture, mask = (PurePosixPath(part).stem for part in parts)
    if picture.isdecimal() and mask.isdecimal() and int(picture) != int(mask):
        raise UserError(f"{path}:{number}: {line!r} is a picture with another one's mask; fix the line")
    own = inside(parts[0], root, path, number), inside(parts[1], root, path, number)
    require_once(own[0], lines, path, number)
    return own


def synthia(root: Path, *, classes: Sequence[str] | None = None) -> MaskedSet:
    """Read SYNTHIA-RAND-CITYSCAPES: ``RGB/N.png`` with ``GT/LABELS/N.png``.

    Label files are PNGs with 16-bit samples: the first channel is the class, another the instance. See
    `csg_train.data.readers.masks.decode_mask` for how they are read. Lane markings (id 22) are ignored, as usual.

    Args:
        root: The folder of ``RGB`` and ``GT``.
        classes: Some of the 16 `SYNTHIA_CLASSES`; pixels of the others are ignored.

    Raises:
        UserError: A folder or a mask is missing.
    """
    found = listing(root, _folder(root / "RGB", "RGB/N.png and GT/LABELS/N.png"))
    masks = [re.sub(r"^RGB/", "GT/LABELS/", file) for file in found.files]
    _all_there(root, masks)
    if masks:
        _none_alone(root, root / "GT" / "LABELS", masks)
    chosen = _chosen(classes, SYNTHIA_CLASSES, root)
    ids = _ids(_SYNTHIA_RAW, {label.name: label.synthia_id for label in LABELS if label.synthia_id}, chosen)
    return MaskedSet(
        name="synthia",
        root=root,
        files=found.files,
        masks=tuple(masks),
        classes=chosen,
        ids=ids,
        licence=_SYNTHIA_LICENCE,
        sixteen_bit=True,
        left_out=found.left_out,
    )
