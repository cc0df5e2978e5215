"""Qt's resource archives, made by hand."""

import struct
import zlib
from pathlib import Path

import pytest

from csg_train.demos.rcc import rcc_files
from csg_train.errors import UserError


def rcc(*, version: int = 2, packing: int = 0, children: int = 2, magic: bytes = b"qres") -> bytes:
    """``a.txt`` ("hello") and ``dir/ß.txt`` ("world", packed as the flags say)."""
    names, offsets = b"", {}
    for name in ("a.txt", "dir", "ß.txt"):
        offsets[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    world = struct.pack(">I", 5) + zlib.compress(b"world") if packing == 1 else b"world"
    data = struct.pack(">I", 5) + b"hello" + struct.pack(">I", len(world)) + world
    time = b"" if version == 1 else bytes(8)
    nodes = [
        struct.pack(">IHII", 0, 2, children, 1),
        struct.pack(">IHHHI", offsets["a.txt"], 0, 0, 0, 0),
        struct.pack(">IHII", offsets["dir"], 2, 1, 3),
        struct.pack(">IHHHI", offsets["ß.txt"], packing, 0, 0, 9),
    ]
    tree = b"".join(node + time for node in nodes)
    head = 20 + 4 * (version == 3)
    flags = bytes(head - 20)
    places = (head, head + len(tree), head + len(tree) + len(data))
    return magic + struct.pack(">4I", version, *places) + flags + tree + data + names


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("packing", [0, 1])
def test_files_of_every_version_come_out_with_path_and_content(tmp_path: Path, version: int, packing: int) -> None:
    (tmp_path / "a.rcc").write_bytes(rcc(version=version, packing=packing))
    assert dict(rcc_files(tmp_path / "a.rcc")) == {"a.txt": b"hello", "dir/ß.txt": b"world"}


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"qres",
        rcc(magic=b"PK\3\4"),
        rcc(version=4),
        rcc(packing=4),
        rcc(packing=1).replace(zlib.compress(b"world"), bytes(13)),
        rcc()[:60],
        rcc(children=9),
        rcc(children=10**9),
    ],
)
def test_damaged_archive_is_one_line_with_its_name(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "a.rcc").write_bytes(archive)
    with pytest.raises(UserError, match=r"a\.rcc: cannot read Qt resources \(.*\); fetch the package again"):
        list(rcc_files(tmp_path / "a.rcc"))


def test_folder_that_holds_itself_ends(tmp_path: Path) -> None:
    archive = bytearray(rcc())
    struct.pack_into(">II", archive, 20 + 2 * 22 + 6, 1, 2)  # dir's only child is dir
    (tmp_path / "a.rcc").write_bytes(archive)
    with pytest.raises(UserError, match="folders in a circle"):
        list(rcc_files(tmp_path / "a.rcc"))
