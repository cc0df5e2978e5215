"""Where commands put what they make: never over what is not theirs, all of it or nothing, each record its own."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from csg_analysis.commands.output import numbered_pictures, require_own_pictures
from csg_train import files
from csg_train.errors import UserError
from csg_train.runs.records import reading
from tests.analysis.conftest import analyze, refused
from tests.commands import assert_user_error, command


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_numbered_pictures_replace_those_of_before_and_no_others(tmp_path):
    out = tmp_path / "out"
    for shown in (["a", "b", "c"], ["d"]):
        with numbered_pictures(out, shown) as work:
            for index, name in enumerate(shown):
                (work / f"{index:04d}.png").write_text(name)
        (out / "note.txt").write_text("mine")
    assert content(out) == {"0000.png": b"d", "index.tsv": b"0000.png\td\n", "note.txt": b"mine"}
    (out / "0007.png").write_text("mine")
    before = content(out)
    with (
        pytest.raises(UserError, match=r"out/0007\.png: not written by this command.*--out"),
        numbered_pictures(out, ["e"]),
    ):
        pass
    assert content(out) == before
    (out / "index.tsv").write_text("name\tprice\n")
    with pytest.raises(UserError, match=r"out/0000\.png: not written by"):
        require_own_pictures(out)
    with pytest.raises(UserError, match="a file; give a folder"):
        require_own_pictures(out / "note.txt")


def write_two(folder):
    with files.together(folder) as work:
        for name in ("a.png", "b.png"):
            files.write_text(work / name, "new")


def test_a_disk_that_fills_leaves_what_was_there(tmp_path, monkeypatch):
    """Of numbered pictures, a report and sheets: the line has the name that the file was to have."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.png").write_text("old")
    real = files.atomic_write

    def write(path, how):
        if path.name == "b.png":
            raise UserError(f"{path}: cannot write (No space left on device)")
        real(path, how)

    monkeypatch.setattr(files, "atomic_write", write)
    for folder in ("old", "new"):
        with pytest.raises(UserError, match=rf"{tmp_path}/{folder}/b\.png: cannot write"):
            write_two(tmp_path / folder)
    assert {path.name: content(path) for path in tmp_path.iterdir()} == {"old": {"a.png": b"old"}}


@pytest.mark.parametrize(
    ("arguments", "beside", "record"),
    [
        (["gradcam", "--per-class", 1, "--out", "out"], "attention.npz", "attention.json"),
        (["accuracy", "--split", "target"], "confusion-target.csv", "accuracy-target.json"),
        (["energy", "--split", "target"], "energy-target.csv", "energy-target.json"),
        (["attention", "--split", "target"], "attention-target.csv", "attention-target.json"),
    ],
)
def test_a_record_and_what_lies_beside_it_are_written_both_or_neither(
    trained, tmp_path, monkeypatch, arguments, beside, record
):
    """Else a report refuses arrays that are not those of the record, or a table contradicts it without a word."""
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(trained[0].parent, tmp_path / "run")
    assert analyze(arguments[0], run / "ckpt.pt", *arguments[1:]).exit_code == 0
    (run / beside).write_text("of before")
    before = content(run)
    full = UserError(f"{record}: cannot write (No space left on device)")
    monkeypatch.setattr(reading, "write_json", lambda path, value: (_ for _ in ()).throw(full))
    refused(analyze(arguments[0], run / "ckpt.pt", *arguments[1:]), record, "No space")
    assert content(run) == before


def test_a_writer_whose_work_another_takes_for_abandoned_makes_it_anew(tmp_path, monkeypatch):
    """Between the moment when a temporary file or folder is made and that when it is locked."""
    real, taken = fcntl.flock, []

    def flock(handle, how):
        for path in tmp_path.glob(".*.tmp"):
            if path.is_dir() not in taken:
                taken.append(path.is_dir())
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    files.write_text(tmp_path / "one.txt", "whole")
    write_two(tmp_path)
    assert taken == [False, True]
    assert content(tmp_path) == {"one.txt": b"whole", "a.png": b"new", "b.png": b"new"}


def test_a_file_is_renamed_before_another_writer_may_take_it_for_abandoned(tmp_path, monkeypatch):
    rename = Path.replace

    def replace(temporary, path):
        files.remove_abandoned(path)
        return rename(temporary, path)

    monkeypatch.setattr(Path, "replace", replace)
    files.write_text(tmp_path / "one.txt", "whole")
    assert content(tmp_path) == {"one.txt": b"whole"}


def test_a_folder_that_cannot_be_opened_gets_its_file(tmp_path, monkeypatch):
    """As on Windows, or where it can be written and not read; only the rename may be lost with the current."""

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    files.write_text(tmp_path / "one.txt", "whole")
    assert (tmp_path / "one.txt").read_text() == "whole"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    (tmp_path / ".csg-dead.tmp").mkdir()
    (tmp_path / ".csg-dead.tmp" / "a.png").write_text("half")
    with files.together(tmp_path) as first:
        write_two(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png", first.parent.name}
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


@pytest.mark.parametrize("empty", [False, True])
def test_two_commands_that_ask_for_one_new_folder_do_not_share_it(tmp_path, empty):
    out = tmp_path / "out"
    if empty:
        out.mkdir()

    def write():
        with files.together(out, new_for="--to") as work:
            files.write_text(work / "README.md", "mine")
            out.mkdir(exist_ok=True)
            (out / "README.md").write_text("the other's")

    with pytest.raises(UserError, match="not an empty folder; choose another --to"):
        write()
    assert content(out) == {"README.md": b"the other's"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_who_is_done_first_has_the_empty_folder(tmp_path):
    """What the other was doing there, or a killed one left, is hidden and counts as nothing."""
    (tmp_path / ".csg-killed.tmp").mkdir()
    files.require_new(tmp_path, "--to")

    def first_and_second():
        with files.together(tmp_path, new_for="--to") as second, files.together(tmp_path, new_for="--to") as first:
            files.write_text(first / "README.md", "first")
            files.write_text(second / "README.md", "second")

    with pytest.raises(UserError, match="not an empty folder; choose another --to"):
        first_and_second()
    assert content(tmp_path) == {"README.md": b"first"}


def test_the_folder_of_the_pictures_takes_no_overlays(trained, trees, tmp_path):
    """There the next call would explain them."""
    shutil.copytree(trees / "target" / "bus", tmp_path / "photos")
    for out in ("photos", "photos/gradcam"):
        refused(analyze("gradcam", trained[0], "--images", tmp_path / "photos", "--out", tmp_path / out), out, "--out")
    assert len(list((tmp_path / "photos").iterdir())) == 3
    inside = trees / "target" / "bus" / "drawn.png"
    for name in ("gradcam", "sphere"):
        refused(analyze(name, trained[0], "--out", inside), f"{inside}: in {trees / 'target'}, from which data.target")
    assert not inside.exists()


def test_a_folder_of_classes_takes_no_report_average_or_export(trained, trees, tmp_path):
    """The report's figures were pictures of a class in the next run, and the others' folders classes."""
    new = trees / "source" / "bus" / "new"
    what = f"{new}: in {trees / 'source'}, from which data.source"
    shutil.copytree(trained[0].parent, tmp_path / "run")
    analyze("energy", tmp_path / "run" / "ckpt.pt")
    assert_user_error(command("csg-report", "build", "run", "--out", new, cwd=tmp_path), what)
    assert_user_error(command("csg-train", "average", *trained[:2], "--out", new, cwd=tmp_path), what)
    export = ("export", trained[0], "--to", new, "--format", "safetensors")
    assert_user_error(command("csg-train", *export, cwd=tmp_path), what)
    refused(analyze("features", trained[0], "--out", new), what)
    assert not new.exists()


@pytest.mark.parametrize("name", ["energy", "accuracy", "gradcam", "compare", "attention", "sphere", "predictions"])
def test_records_that_could_not_be_kept_are_refused_before_measuring(name, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beside = trained[0].with_name("best.pt")
    refused(analyze(name, trained[0], tmp_path / "gone.pt"), "gone.pt: no such checkpoint")
    refused(analyze(name, trained[0], beside), str(beside), f"those of {trained[0]}")
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.R_OK)
    refused(analyze(name, trained[0]), str(trained[0].parent), "cannot write there", "copy the folder")
    assert not list(tmp_path.iterdir())
