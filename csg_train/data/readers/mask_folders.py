"""A user's own pictures and masks: in two folders (`masked_folder`), or paired by a list (`masked_manifest`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from csg_train.data.readers.images import require_same_classes
from csg_train.data.readers.listing import LeftOut, left_out_end, listing
from csg_train.data.readers.lists import list_lines, manifest_rows
from csg_train.data.readers.masks import IGNORE, MaskedSet
from csg_train.errors import UserError
from csg_train.names import other_form

__all__ = ["masked_folder", "masked_manifest"]


def masked_folder(
    root: Path,
    *,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    licence: str = "user's own",
    images: str = "images",
    masks: str = "masks",
    ending: str = "",
    listed: Sequence[str] | None = None,
) -> MaskedSet:
    """Read a user's own data: ``images/NAME.jpg``, ``masks/NAME.png`` (at any depth) and ``classes.txt``.

    A mask holds class ids: 0 for the first line of ``classes.txt``, 1 for the second ...; 255 is ignored.

    Args:
        root: The folder of all three.
        name: Name of the domain in tables; by default the folder's.
        classes: Class names in training order, which the list must have in whatever order; by default the list.
        licence: Licence of the pictures.
        images: Folder of the pictures below ``root``.
        masks: Folder of the masks.
        ending: What a mask's name has behind its picture's, before the suffix (``_train_id``).
        listed: In place of ``classes.txt``, where a mapping says what the ids are.

    Raises:
        UserError: A folder, the class list, a mask or a picture is missing, two pictures share a name, or the classes
            differ.
    """
    wanted, ids = _classes(root, classes, listed)
    listings = [listing(root, root / folder) for folder in (images, masks)]
    for file in listings[1].files:
        if not file.rpartition(".")[0].endswith(ending):
            raise UserError(f"{root / file}: without the ending {ending!r} of a mask; rename it or move it elsewhere")
    keyed = [
        {
            file.rpartition(".")[0].removeprefix(f"{PurePosixPath(folder)}/").removesuffix(end): file
            for file in one.files
        }
        for one, folder, end in zip(listings, (images, masks), ("", ending), strict=True)
    ]
    files, own = keyed
    for one, found, folder, what in zip(keyed, listings, (images, masks), ("pictures", "masks"), strict=True):
        if len(one) < len(found.files):
            raise UserError(f"{root / folder}: two {what} of the same name but for the suffix; rename one")
    left_out = tuple(one for found in listings for one in found.left_out)
    _paired(root, files, own, left_out)
    return MaskedSet(
        name=name or root.resolve().name,
        root=root,
        files=tuple(files.values()),
        masks=tuple(own[key] for key in files),
        classes=wanted,
        ids=ids,
        licence=licence,
        left_out=left_out,
    )


def masked_manifest(
    root: Path, file: Path, *, name: str, classes: Sequence[str] | None = None, listed: Sequence[str] | None = None
) -> MaskedSet:
    """Read a CSV file with the columns ``path`` and ``mask``, both below ``root``; others are ignored.

    Args:
        root: Folder that the paths start at, with ``classes.txt``.
        file: The CSV file, UTF-8.
        name: Name of the domain in tables.
        classes: As of `masked_folder`.
        listed: Likewise.

    Raises:
        UserError: No such file or column, a path that leaves ``root``, or the classes are missing or differ.
    """
    wanted, ids = _classes(root, classes, listed)
    files, masks = zip(*manifest_rows(root, file, "mask"), strict=True)
    return MaskedSet(name, root, files, masks, wanted, ids)


def _classes(
    root: Path, classes: Sequence[str] | None, listed: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names in training order, and what the ids of masks are there: their place in ``classes.txt``."""
    names = _listed(root / "classes.txt") if listed is None else tuple(listed)
    wanted = names if classes is None else tuple(classes)
    require_same_classes(f"{root / 'classes.txt'}: classes", names, wanted)
    return wanted, {**{line: wanted.index(label) for line, label in enumerate(names)}, IGNORE: IGNORE}


def _listed(path: Path) -> tuple[str, ...]:
    fix = "write the name of a class on each line, of id 0 first, or a mapping classes.yaml (docs/data.md)"
    lines = list(list_lines(path, fix=fix))
    for place, (number, _) in enumerate(lines, start=1):
        if number != place:
            raise UserError(f"{path}:{place}: blank, and an id is the number of a line; name its class or remove it")
    names = tuple(line.strip() for _, line in lines)
    if not names or len(set(names)) < len(names) or len(names) > IGNORE:
        raise UserError(f"{path}: needs 1 to {IGNORE} different class names, one a line")
    return names


def _paired(root: Path, files: Mapping[str, str], masks: Mapping[str, str], left_out: Sequence[LeftOut]) -> None:
    for one, other, what in ((files, masks, "mask"), (masks, files, "picture")):
        if alone := sorted(set(one) - set(other)):
            twin = other_form(alone[0], other)
            if twin is not None:
                raise UserError(
                    f"{root / one[alone[0]]}: its {what} is named in another Unicode form, {twin!a} for "
                    f"{alone[0]!a}; rename one (convmv -f utf8 -t utf8 --nfc does a whole folder)"
                )
            raise UserError(
                f"{root / one[alone[0]]}: no {what} of the same name ({len(alone)} such files); "
                f"add it or remove the file, or pair them by a list (masked-manifest){left_out_end(left_out)}"
            )
