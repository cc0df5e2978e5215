"""Hostile list files: accepted, or refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csg_train.data.readers.driving import gta5
from csg_train.data.readers.images import decode
from csg_train.data.readers.lists import manifest, visda17
from csg_train.errors import UserError
from tests.survival.mutations import damaged, fuzz, refused_or_fine, words


@fuzz
@given(data=st.data())
def test_lists(place, data):
    lines = st.one_of(
        st.tuples(words | st.text(max_size=10), st.sampled_from(["bus", "0", "11", "12", "²", "9" * 5000, ""])),
        st.tuples(
            st.sampled_from(["bus/0.png", "car/0.png", "link/secret", "link.png"]), st.sampled_from(["bus", "1"])
        ),
    )
    content = data.draw(
        st.one_of(
            st.lists(lines).map(lambda rows: "path,label\n" + "\n".join(map(",".join, rows))),
            st.lists(lines).map(lambda rows: "\n".join(map(" ".join, rows))),
            st.text(max_size=60),
            st.just('path,label\n"' + "x" * 200_000),
        )
    ).encode("utf-8", errors="surrogatepass")
    content = data.draw(st.just(content) | damaged(content))
    root = place / "lists"
    (root / "train").mkdir(parents=True, exist_ok=True)
    for link, target in ((root / "link", place.parent), (root / "link.png", place.parent / "secret")):
        if not link.is_symlink():
            link.symlink_to(target)
    for path in (root / "m.csv", root / "train" / "image_list.txt", root / "gta5_train.txt"):
        path.write_bytes(content)
    for subject, call in {
        "CSV manifests": lambda: manifest(root, root / "m.csv", name="m"),
        "VisDA lists": lambda: visda17(root, "train"),
        "GTA5 lists": lambda: gta5(root, "train"),
    }.items():
        images = refused_or_fine(subject, call)
        for index in range(0 if images is None else len(images)):
            assert images.path(index).resolve().is_relative_to(root.resolve())


def test_links_of_a_list_out_of_its_root_are_refused(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.png").write_bytes(b"")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "file.png").symlink_to(tmp_path / "secret" / "a.png")
    for path in ("folder/a.png", "file.png", "x" * 5000):
        (root / "m.csv").write_text(f"path,label\n{path},bus\n")
        with pytest.raises(UserError, match=r"m\.csv:2: .* (leaves the data folder|is no path)"):
            manifest(root, root / "m.csv", name="m")


@pytest.mark.parametrize("path", ["loop", "loop/a.png"])
def test_a_link_to_itself_is_named(path, tmp_path):
    """Python 3.13 follows it no more than a file that is not there: it is found when the picture is read."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "m.csv").write_text(f"path,label\n{path},bus\n")
    with pytest.raises(UserError, match=r"loop.*(is no path|cannot decode)"):
        decode(manifest(tmp_path, tmp_path / "m.csv", name="m").path(0))


def test_a_linked_root_is_a_root(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    (tmp_path / "m.csv").write_text("path,label\na.png,bus\n")
    assert manifest(tmp_path / "root", tmp_path / "m.csv", name="m").files == ("a.png",)
