"""Files inside a Qt resource archive (``.rcc``), read without Qt.

The layout is Qt's: a header with the offsets of a tree, of names and of data; a node of the tree is 14 bytes, and from
version 2 on 22 with a time that we do not need. Numbers are big-endian, names UTF-16.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from csg_train.errors import UserError

__all__ = ["rcc_files"]

_FOLDER, _ZLIB, _ZSTD = 2, 1, 4
_VERSIONS = {1: 14, 2: 22, 3: 22}  # to the size of a node
_DEEPEST = 50


def rcc_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """POSIX path and content of each file of the archive, in its own order.

    Raises:
        UserError: The file cannot be read, is no such archive, is damaged, or holds a zstd-compressed file.
    """
    try:
        archive = path.read_bytes()
        magic, version, tree, data, names = struct.unpack_from(">4s4I", archive)
        if magic != b"qres" or version not in _VERSIONS:
            raise ValueError("no rcc archive of version 1, 2 or 3")
        yield from _walk(archive, (tree, data, names), _VERSIONS[version], 0, "", 0)
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: cannot read Qt resources ({error}); fetch the package again") from error


def _walk(
    archive: bytes, offsets: tuple[int, int, int], size: int, node: int, above: str, depth: int
) -> Iterator[tuple[str, bytes]]:
    tree, data, names = offsets
    if depth > _DEEPEST:
        raise ValueError("folders in a circle")
    name, flags = struct.unpack_from(">IH", archive, tree + node * size)
    path = above + _name(archive, names + name) if node else ""
    if flags & _FOLDER:
        number, first = struct.unpack_from(">II", archive, tree + node * size + 6)
        for child in range(first, first + number):
            yield from _walk(archive, offsets, size, child, f"{path}/" if path else "", depth + 1)
        return
    (start,) = struct.unpack_from(">I", archive, tree + node * size + 10)
    (length,) = struct.unpack_from(">I", archive, data + start)
    content = archive[data + start + 4 : data + start + 4 + length]
    if flags & _ZSTD:
        raise ValueError(f"{path} is compressed with zstd")
    # Qt puts the length of the unpacked content before the zlib stream.
    yield path, zlib.decompress(content[4:]) if flags & _ZLIB else content


def _name(archive: bytes, start: int) -> str:
    (letters,) = struct.unpack_from(">H", archive, start)
    return archive[start + 6 : start + 6 + 2 * letters].decode("utf-16-be")
