"""Data sets given by list files: VisDA-17 in its exact layout, and CSV manifests of users."""

import csv
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from csg_train.data.readers.images import ImageSet
from csg_train.errors import UserError
from csg_train.files import foreign_content
from csg_train.names import absent

__all__ = [
    "VISDA_CLASSES",
    "VISDA_COUNTS",
    "inside",
    "list_lines",
    "manifest",
    "manifest_rows",
    "require_once",
    "visda17",
]

VISDA_CLASSES = (
    "aeroplane",
    "bicycle",
    "bus",
    "car",
    "horse",
    "knife",
    "motorcycle",
    "person",
    "plant",
    "skateboard",
    "train",
    "truck",
)
"""In index order (the official devkit's)."""

VISDA_COUNTS = {
    "train": (14309, 7365, 16640, 12800, 9512, 14240, 17360, 12160, 10731, 11680, 16000, 9600),
    "validation": (3646, 3475, 4690, 10401, 4691, 2075, 5796, 4000, 4549, 2281, 4236, 5548),
    "test": (5196, 4272, 6970, 7280, 6331, 5491, 8079, 7673, 4287, 2762, 7264, 6767),
}
"""Official pictures of each class (``train``: the total is documented, the classes from memory)."""

_VISDA_LABELS = {str(label): label for label in range(len(VISDA_CLASSES))}
_VISDA_LICENCE = "VisDA-17 terms: non-commercial research, no redistribution of the images"


def visda17(root: Path, split: str) -> ImageSet:
    """Read ``root/{split}/image_list.txt``: a relative path and an integer label on each line.

    Args:
        root: Folder that holds ``train``, ``validation`` and ``test``.
        split: One of those.

    Raises:
        UserError: The list is missing or empty, or a line is not a path inside the folder and a label of 0 to 11, that
            of the path's folder where this has a class's name.
    """
    path = root / split / "image_list.txt"
    files, labels = [], []
    lines: dict[str, int] = {}
    for number, line in list_lines(path):
        file, label = [*line.strip().rsplit(maxsplit=1), "", ""][:2]
        if label not in _VISDA_LABELS:
            raise UserError(f"{path}:{number}: {line!r} is not 'PATH LABEL' with a label of 0 to 11; fix the line")
        labels.append(_VISDA_LABELS[label])
        named = VISDA_CLASSES[labels[-1]]
        if (folder := file.partition("/")[0]) in VISDA_CLASSES and folder != named:
            raise UserError(f"{path}:{number}: {file!r} has label {label}, which is {named}; fix the line")
        files.append(inside(file, root / split, path, number))
        require_once(files[-1], lines, path, number)
    if not files:
        raise UserError(f"{path}: an empty list; add a line 'PATH LABEL' for each picture")
    return ImageSet(
        name=f"visda17:{split}",
        root=root / split,
        files=tuple(files),
        labels=tuple(labels),
        classes=VISDA_CLASSES,
        licence=_VISDA_LICENCE,
        expected=VISDA_COUNTS[split],
    )


def manifest(root: Path, file: Path, *, name: str, classes: Sequence[str] | None = None) -> ImageSet:
    """Read a CSV file with the columns ``path`` (below ``root``) and ``label`` (a class name); others are ignored.

    Args:
        root: Folder that the paths start at.
        file: The CSV file, UTF-8.
        name: Name of the domain in tables.
        classes: Class names in index order, some of which may have no row; by default the labels found, sorted.

    Raises:
        UserError: No such file or column, a path that leaves ``root``, or a label that is no class of the source.
    """
    rows = manifest_rows(root, file, "label")
    names = tuple(classes or sorted({label for _, label in rows}))
    if unknown := sorted({label for _, label in rows} - set(names)):
        raise UserError(f"{file}: labels {unknown} are no classes of the source ({', '.join(names)}); fix them")
    index = {label: position for position, label in enumerate(names)}
    return ImageSet(
        name=name,
        root=root,
        files=tuple(path for path, _ in rows),
        labels=tuple(index[label] for _, label in rows),
        classes=names,
    )


def manifest_rows(root: Path, file: Path, column: str) -> list[tuple[str, str]]:
    """The columns ``path`` and ``column`` of a CSV file, a row for each picture, each once.

    Raises:
        UserError: No such file, column or row, an empty cell, a picture in two rows, or a path that leaves ``root``.
    """
    try:
        rows = list(_rows(root, file, column))
    except csv.Error as error:
        raise UserError(f"{file}: not a CSV file ({error}); fix it") from error
    if not rows:
        raise UserError(f"{file}: no rows below the first line; add a path and a {column} for each picture")
    return rows


def _rows(root: Path, file: Path, column: str) -> Iterator[tuple[str, str]]:
    lines = list(list_lines(file))
    first = lines[0][1] if lines else ""
    if first.lstrip().startswith(("{", "[")) and not {"path", column} <= set(first.split(",")):
        raise UserError(f"{file}: a JSON document; write a CSV file with the columns path and {column} of it")
    reader = csv.DictReader((f"{line}\n" for _, line in lines), strict=True)  # else a stray quote swallows rows
    found = list(reader.fieldnames or ())
    before: dict[str, int] = {}
    if missing := {"path", column} - set(found):
        raise UserError(
            f"{file}: no column {', '.join(sorted(missing))}, for the first line is {','.join(found)[:99]!r}; it must "
            f"name path and {column}, in lower case, separated by a comma and no space"
        )
    if twice := [name for name in ("path", column) if found.count(name) > 1]:
        raise UserError(f"{file}: two columns {twice[0]}; rename or remove one")
    for row in reader:
        number = lines[reader.line_num - 1][0]
        if None in row:
            raise UserError(
                f"{file}:{number}: more cells than the first line has names; put what holds a comma in quotes"
            )
        if not row["path"] or not row[column]:
            raise UserError(f"{file}:{number}: no path or no {column}; complete or remove the line")
        if row[column] != row[column].strip():
            raise UserError(f"{file}:{number}: {column} {row[column]!r} has blanks around it; remove them")
        path = inside(row["path"], root, file, number)
        require_once(path, before, file, number)
        value = row[column]
        if column == "mask" and (value := inside(value, root, file, number)) == path:
            raise UserError(f"{file}:{number}: {path!r} is its own mask; name the mask's file")
        yield path, value


def require_once(file: str, lines: dict[str, int], origin: Path, number: int) -> None:
    """Refuse a file that an earlier line of a list has: it would count twice; ``lines`` holds the line of each."""
    if (first := lines.setdefault(file, number)) != number:
        raise UserError(f"{origin}:{number}: {file!r} is in line {first} too; remove one")


def list_lines(path: Path, *, fix: str = "check the path") -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank, or an error that names the file.

    ``fix`` is what to do where the file is missing, but not its folder.
    """
    try:
        if path.is_file() and path.stat().st_size and (found := foreign_content(path)):
            raise UserError(f"{path}: not a list but {found}")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        fix = fix if path.parent.is_dir() else "check the path"
        raise UserError(f"{path}: not a readable UTF-8 list, there is no such file{absent(path)}; {fix}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a readable UTF-8 list ({error}); save it as UTF-8") from error
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise UserError(f"{path}: not a readable UTF-8 list ({error}); check the path") from error
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


@functools.lru_cache(maxsize=4096)
def _real(folder: Path) -> Path:
    return folder.resolve()


def inside(file: str, root: Path, origin: Path, number: int) -> str:
    """A path of a list file below ``root``; refused where it, or a link on it, leaves that. The rest names its line."""
    pure = PurePosixPath(file)
    if "\0" in file:
        raise UserError(f"{origin}:{number}: {file!r} holds a zero byte; fix the line")
    if pure.is_absolute():
        below = pure.relative_to(root.absolute()).as_posix() if pure.is_relative_to(root.absolute()) else "PATH"
        raise UserError(f"{origin}:{number}: {file!r} is an absolute path; write what is below {root}: {below}")
    if ".." in pure.parts:
        raise UserError(f"{origin}:{number}: {file!r} leaves the data folder; use paths below it")
    path = root / pure
    try:
        real = path.resolve() if path.is_symlink() else _real(path.parent) / path.name
        leaves = not real.is_relative_to(_real(root))
    except (OSError, RuntimeError) as error:  # of too long a name, of a link to itself
        raise UserError(f"{origin}:{number}: {file!r} is no path ({error}); fix the line") from error
    if leaves:
        raise UserError(
            f"{origin}:{number}: {file!r} leaves the data folder by a link, to {real}; give the folder that the files "
            f"lie in as root, or make {root} itself the link"
        )
    return pure.as_posix()
