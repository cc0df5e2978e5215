"""A disk that is full or read-only: the file of before survives, the error is one line that names it, exit 2."""

import contextlib
import errno
import os
import resource
import signal
import subprocess

import pytest
import torch

from csg_train import files
from csg_train.errors import UserError
from csg_train.files import atomic_write, write_text
from csg_train.runs.training_log import TrainingLog
from tests.commands import assert_user_error, command
from tests.nested import equal


@contextlib.contextmanager
def files_up_to(size: int):
    """No file of this process may grow beyond so many bytes: the next one fails in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


STATE = {"model": {"weight": torch.arange(3000.0)}, "many": [torch.full((7,), float(i)) for i in range(9)]}


@pytest.mark.parametrize("size", [0, 1, 100, 3000, 9000, 15_000])
def test_a_tensor_file_that_does_not_fit(size, tmp_path):
    """Wherever the space ends: in the archive's records, or in what torch writes when it closes it."""
    path = tmp_path / "ckpt.pt"
    old = {"old": torch.ones(2)}
    torch.save(old, path)
    with files_up_to(size), pytest.raises(UserError, match=r"ckpt\.pt: cannot write \(File too large\)"):
        atomic_write(path, lambda stream: torch.save(STATE, stream))
    assert equal(torch.load(path, weights_only=True), old)
    assert [file.name for file in tmp_path.iterdir()] == ["ckpt.pt"]


@pytest.mark.parametrize("end", ["flush", "sync", "__exit__"])
def test_a_log_that_does_not_fit(end, tmp_path):
    """The one file that grows as a run does."""
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path, 0).__enter__()
    for step in range(1, 9):
        log.write({"step": step})
    with files_up_to(50), pytest.raises(UserError, match=r"log\.jsonl: cannot write \(File too large\)"):
        getattr(log, end)(*[None] * 3 * (end == "__exit__"))
    assert path.stat().st_size == 50
    with contextlib.suppress(ValueError):  # closed
        log.stream.close()


def test_a_log_that_was_moved_away_ends_the_run(tmp_path):
    """With its folder, which a checkpoint would make anew."""
    folder = tmp_path / "run"
    folder.mkdir()
    with TrainingLog(folder / "log.jsonl", 0) as log:
        log.sync()
        folder.rename(tmp_path / "moved")
        with pytest.raises(UserError, match=r"run/log\.jsonl: moved or removed while the run wrote it"):
            log.sync()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_when_it_is_flushed(number, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fail(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(UserError, match=rf"a\.json: cannot write \({os.strerror(number)}\)"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_an_error_of_the_content_is_not_taken_for_one_of_the_disk(tmp_path):
    def fail(_stream) -> None:
        raise RuntimeError("not the disk")

    with pytest.raises(RuntimeError, match="not the disk"):
        atomic_write(tmp_path / "a.pt", fail)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB, read-only on request."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mount needs root; the tests above stand for it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_run_on_a_small_disk(fault, small_disk, recipe_file, tmp_path):
    """A checkpoint of resnet18 is 45 MB and more; what a run wrote before, here a stand-in, stays as it is."""
    out = small_disk / "run"
    out.mkdir()
    (out / "log.jsonl").write_text("")
    (out / "note.txt").write_text("before")
    if fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    wide = ("--set", "model.backbone=resnet18", "--set", "model.weights=none")
    result = command("csg-train", "run", recipe_file, *wide, "--out", out, "--resume", cwd=tmp_path)
    assert_user_error(result, str(out), "No space left" if fault == "full" else "Read-only file system")
    assert (out / "note.txt").read_text() == "before"
    assert {path.name for path in out.iterdir()} <= {"log.jsonl", "note.txt", "recipe.yaml", ".lock"}


@pytest.mark.parametrize(
    ("name", "file", "backbone"), [("torch-export", "model.pt2", "narrow"), ("timm", "", "resnet18")]
)
def test_an_export_on_a_small_disk(name, file, backbone, small_disk, recipe_file, tmp_path):
    """Torch's own writing would end the process there, and the error of safetensors' is no `OSError`."""
    changes = ["train.steps=1", f"model.backbone={backbone}", *["model.weights=none"] * (name == "timm")]
    words = [word for change in changes for word in ("--set", change)]
    command("csg-train", "run", recipe_file, *words, "--out", tmp_path / "run", cwd=tmp_path)
    (small_disk / "fill").write_bytes(bytes(1_900_000))
    words = ("export", tmp_path / "run" / "ckpt.pt", "--format", name, "--to", small_disk / "out")
    assert_user_error(command("csg-train", *words, cwd=tmp_path), f"{file}: cannot write (No space left on device)")
    assert [path.name for path in small_disk.iterdir()] == ["fill"]


def test_sigxfsz_is_ignored_by_python():
    """Else the limits above would kill the process."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
