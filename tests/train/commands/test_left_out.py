"""Which files count, through ``data check``: one rule, and what it leaves out is printed."""

import os
import shutil
from pathlib import Path

import pytest

from csg_train.data.readers.images import image_folder
from tests.commands import as_others, assert_user_error, command


@pytest.fixture
def root(trees: Path, tmp_path: Path) -> Path:
    shutil.copytree(trees / "source", tmp_path / "own")
    return tmp_path / "own"


def check(recipe_file: Path, root: Path, **options):
    words = ("data", "check", recipe_file, "--set", f"data.source.root={root}")
    return command("csg-train", *words, cwd=root.parent, **options)


def test_what_does_not_count_is_printed_and_changes_no_identity(recipe_file, trees, root):
    picture = root / "bus" / "0.png"
    for name in (
        ".ipynb_checkpoints/0-checkpoint.png",
        ".thumbnails/0.png",
        "__MACOSX/._0.png",
        "@eaDir/0.png",
        "._1.png",
    ):
        (root / "bus" / name).parent.mkdir(exist_ok=True)
        shutil.copy(picture, root / "bus" / name)
    for name in ("__MACOSX", "lost+found", ".git"):
        (root / name).mkdir()
        shutil.copy(picture, root / name / "0.png")
    for name in ("a.gif", "b.tiff", "notes.txt", "Thumbs.db", "README"):
        (root / "car" / name).write_bytes(b"x")
    shutil.copy(picture, root / "stray.png")
    (root / "car" / "up").symlink_to(root)
    result = check(recipe_file, root)
    assert result.returncode == 0, result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("source: left out: "))
    for part in (
        "4 hidden (.git, bus/._1.png, bus/.ipynb_checkpoints, ...)",
        "5 of an operating system (__MACOSX, lost+found, bus/@eaDir",
        "1 of type .gif (car/a.gif)",
        "1 of type .txt",
        "1 without a type (car/README)",
        "1 not in the folder of a class (stray.png)",
        "1 linked to a folder that it lies in (car/up)",
    ):
        assert part in line, line
    assert "equal pixels" not in result.stdout
    own, plain = (image_folder(folder, name="x") for folder in (root, trees / "source"))
    assert own.identity == plain.identity


@pytest.mark.parametrize(
    "name",
    [
        *("@Recycle", "@Recently-Snapshot", "#snapshot", "~snapshot", "@tmp"),
        *("RECYCLER", "Recycled", "$RECYCLE.BIN", "FOUND.000", "System Volume Information"),
        *("Network Trash Folder", "Temporary Items", "Icon\r"),
    ],
)
def test_folders_of_operating_systems_are_no_classes(name, root, trees):
    for folder in (root, root / "car"):
        shutil.copytree(root / "bus", folder / name)
    images = image_folder(root, name="x")
    assert images.identity == image_folder(trees / "source", name="x").identity
    assert [one.reason for one in images.left_out] == ["of an operating system"] * 2


def test_a_link_to_itself_is_one_to_nothing(recipe_file, root):
    for path in (root / "loop", root / "car" / "loop"):
        path.symlink_to(path)
    result = check(recipe_file, root)
    assert result.returncode == 0, result.stderr
    assert "1 not in the folder of a class (loop); 1 without a type (car/loop)" in result.stdout
    (root / "car" / "loop.png").symlink_to(root / "car" / "loop.png")
    assert_user_error(check(recipe_file, root), "car/loop.png")


def test_a_root_that_is_a_file_is_called_one(recipe_file, root):
    assert_user_error(check(recipe_file, root / "car" / "0.png"), "no such folder (there is a file of that name)")


def test_linked_folders_are_followed(recipe_file, root):
    shutil.move(root / "car", root.parent / "elsewhere")
    (root / "car").symlink_to(root.parent / "elsewhere")
    (root / "bus" / "more").symlink_to(root.parent / "elsewhere")
    result = check(recipe_file, root)
    assert result.returncode == 0, result.stderr
    assert image_folder(root, name="x").counts() == {"bus": 8, "car": 4, "truck": 4}


def test_a_pipe_is_not_waited_for(recipe_file, root):
    os.mkfifo(root / "pipe")
    (root / "car" / "linked.png").symlink_to(root / "pipe")
    result = check(recipe_file, root)
    assert result.returncode == 0
    assert "1 not a regular file (car/linked.png)" in result.stdout
    (root / "list.csv").write_text("path,label\npipe,bus\nbus/0.png,bus\ncar/0.png,car\ntruck/0.png,truck\n")
    listed = f"data.source={{dataset: manifest, root: '{root}', file: '{root}/list.csv'}}"
    result = command("csg-train", "data", "check", recipe_file, "--set", listed, cwd=root.parent)
    assert_user_error(result, "pipe: a pipe")


def test_a_link_to_nothing_is_a_missing_picture(recipe_file, root):
    (root / "car" / "gone.png").symlink_to("nothing")
    assert_user_error(check(recipe_file, root), "car/gone.png", "no such image")
    result = command("csg-train", "run", recipe_file, "--set", f"data.source.root={root}", cwd=root.parent)
    assert_user_error(result, "car/gone.png")
    assert not list(root.parent.rglob("log.jsonl"))


def test_a_folder_that_cannot_be_read_is_an_error(recipe_file, root):
    hidden = root / "car" / "closed"
    hidden.mkdir()
    hidden.chmod(0)
    result = check(recipe_file, root, before=as_others)
    hidden.chmod(0o755)
    assert_user_error(result, "car/closed", "Permission denied")
