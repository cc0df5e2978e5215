"""Hostile folders: whatever lies in them, the rule lists pictures, leaves out with a reason, or refuses in one line."""

import os
import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from csg_train.data.check.pictures import check_pictures
from csg_train.data.readers.images import image_folder
from csg_train.recipes.faults import shown
from tests.survival.mutations import fuzz, refused_or_fine

SYSTEM = (".git", "__MACOSX", "@eaDir", "lost+found", "Thumbs.db", "._1.png")
ODD = (
    "caf\u00e9",
    "cafe\u0301",
    "a\nb",
    "[/b]",
    "[red]",
    "-x",
    "2024",
    "true",
    "a #b",
    "a: b",
    " ",
    "\udce9",
    "\x1b[31m",
)
NAMES = st.sampled_from(["bus", "car", *SYSTEM, *ODD, "x" * 200, "\u3000", "\u202e"]) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6
)
SUFFIXES = st.sampled_from(["", ".png", ".PNG", ".gif", ".txt", ".jpg"])


@fuzz
@given(
    parts=st.lists(
        st.tuples(
            st.lists(NAMES, min_size=1, max_size=3), SUFFIXES, st.sampled_from(["file", "link", "up", "folder", "fifo"])
        ),
        max_size=6,
    )
)
def test_folders(place, parts):
    root = place / "folders"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for names, suffix, kind in parts:
        path = root.joinpath(*names[:-1], names[-1] + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path, kind, root)
        except OSError:  # too long, or there already as something else
            continue
    images = refused_or_fine("folders", lambda: image_folder(root, name="f"))
    if images is not None:
        assert all("/." not in f"/{file}" and "__MACOSX" not in file.split("/") for file in images.files)
        assert list(images.files) == sorted(images.files, key=lambda file: (file.split("/")[0], file))
        assert all(one.reason for one in images.left_out)
        assert len(images.identity if all(images.path(i).exists() for i in range(len(images))) else "x" * 64) == 64
        for line in check_pictures(images).lines():
            assert line.encode()


def _make(path: Path, kind: str, root: Path) -> None:
    if kind == "file":
        with path.open("xb") as stream:  # a pipe of that name would be waited for
            stream.write(b"x")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(root if kind == "up" else "nothing")


def test_values_are_shown_in_short():
    assert shown("x" * 10_000).count("x") < 100
    assert shown(None) == "null"
