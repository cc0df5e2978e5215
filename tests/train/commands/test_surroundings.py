"""Machines as users have them: no home, no name, another umask, folders that cannot be written, an ASCII locale."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.commands import as_others, assert_user_error, command
from tests.conftest import write_tree

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def started(recipe_file: Path, *words: str, env: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
    """As the shell starts it: what the interpreter reads at its start cannot be changed in a fork."""
    arguments = [sys.executable, "-m", "tests.narrow", *words, str(recipe_file)]
    repository = str(Path(__file__).parents[3])
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONPATH": repository} | env
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False, **options)


@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_files_and_folders_follow_the_umask(mask, recipe_file, tmp_path):
    words = ("--set", "train.steps=1", "--out", "out")
    result = command("csg-train", "run", recipe_file, *words, cwd=tmp_path, before=partial(os.umask, mask))
    assert result.returncode == 0, result.stderr
    out = tmp_path / "out"
    modes = {path.name: path.stat().st_mode & 0o777 for path in out.iterdir() if path.name != ".lock"}
    assert set(modes.values()) == {0o666 & ~mask}, modes
    assert out.stat().st_mode & 0o777 == 0o777 & ~mask


NOBODY = """
import os, pwd, sys
def unknown(*_):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "CSG_DATA_DIR"):
    os.environ.pop(name, None)
import tests.narrow
from csg_train.cli import main
sys.argv[1:] = ["run", sys.argv[1], "--set", "train.steps=1"]
try:
    main()
except SystemExit as end:
    assert not end.code
sys.argv[1:] = ["data", "cache", sys.argv[2]]
main()
"""


def test_no_home_and_a_user_without_a_name(recipe_file, tmp_path):
    """As in a container that runs as a number: what needs no home works, the rest says what to set."""
    words = [sys.executable, "-c", NOBODY, str(recipe_file)]
    assert_user_error(subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path), "CSG_DATA_DIR")
    assert list(tmp_path.glob("runs/*/*/ckpt.pt"))


def test_a_home_folder_in_a_path_of_a_recipe(recipe_file, tmp_path):
    for root in ("pictures", "photos"):
        write_tree(tmp_path / root)
    sets = ("--set", "data.source.root=~/pictures", "--set", "data.target.root=~/photos")
    result = command("csg-train", "data", "check", recipe_file, *sets, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    assert_user_error(command("csg-train", "data", "check", "~/none.yaml", cwd=tmp_path), "~/none.yaml", "no shell")


def test_a_home_folder_in_a_path_of_a_method(recipe_file, tmp_path):
    """Read where the pictures are, and shown as it was given."""
    (tmp_path / "empty").mkdir()
    sets = ("--set", "method={name: domain-randomization, styles: ~/empty}")
    result = command("csg-train", "run", recipe_file, *sets, cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert_user_error(result, f"{tmp_path}/empty: no pictures")


def test_a_working_directory_that_is_gone(recipe_file, tmp_path):
    (tmp_path / "gone").mkdir()
    code = f"""
import os, sys
os.chdir({str(tmp_path / "gone")!r}); os.rmdir({str(tmp_path / "gone")!r})
sys.argv = ['csg-train', 'data', 'check', {str(recipe_file)!r}, '--set', 'data.source.root=own']
from csg_train.__main__ import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_user_error(result, "the working directory", "No such file")


def test_what_may_not_be_read(recipe_file, tmp_path):
    run = tmp_path / "runs" / "run"
    command("csg-train", "run", recipe_file, "--set", "train.steps=1", "--out", run, cwd=tmp_path)
    run.chmod(0)
    programs = {
        "csg-analyze": (["energy", run / "ckpt.pt"], "ckpt.pt: Permission denied"),
        "csg-report": (["build", tmp_path / "runs", "--out", tmp_path / "report"], f"{run}: cannot"),
        "csg-train": (["data", "check", run / "recipe.yaml"], "recipe.yaml: Permission denied; make it readable"),
    }
    try:
        for program, (words, part) in programs.items():
            assert_user_error(command(program, *words, cwd=tmp_path, before=as_others), part)
    finally:
        run.chmod(0o755)


def test_a_folder_for_temporary_files_that_is_none(recipe_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    env = {"TMPDIR": str(tmp_path / "file")}
    result = started(recipe_file, "run", "--set", "train.steps=1", "--out", str(tmp_path / "o"), env=env, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_cache_that_cannot_be_written(recipe_file, tmp_path):
    (tmp_path / "file").write_text("in the way")
    env = {"CSG_DATA_DIR": str(tmp_path / "file" / "x")}
    result = command("csg-train", "run", recipe_file, "--set", "train.steps=1", cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    assert_user_error(command("csg-train", "data", "cache", recipe_file, cwd=tmp_path, env=env), "CSG_DATA_DIR")


@pytest.mark.parametrize(("env", "read"), [(ASCII, False), ({"LC_ALL": "C"}, True)], ids=["ascii", "C"])
def test_an_ascii_locale(env, read, recipe_file, tmp_path):
    """Python makes UTF-8 of the locale C, unless it is told not to."""
    for name in ("Bücher", "Züge"):
        write_tree(tmp_path / name)
        (tmp_path / name / "car").rename(tmp_path / name / "é")
    sets = ("--set", "data.source.root=Bücher", "--set", "data.target.root=Züge")
    result = started(recipe_file, "data", "check", *sets, env=env, cwd=tmp_path)
    if read:
        assert (result.returncode, result.stderr) == (0, "")
        assert "12 pictures" in result.stdout
    else:
        assert_user_error(result, "--set", "set PYTHONUTF8=1")


def test_a_link_to_itself_is_no_folder_for_results(recipe_file, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert command("csg-train", "run", recipe_file, "--out", "runs/a", cwd=tmp_path).returncode == 0
    checkpoint = "runs/a/ckpt.pt"
    for words in (
        ("csg-train", "run", recipe_file, "--out", "loop"),
        ("csg-train", "average", checkpoint, checkpoint, "--out", "loop"),
        ("csg-train", "export", checkpoint, "--to", "loop", "--format", "safetensors"),
        ("csg-analyze", "gradcam", checkpoint, "--out", "loop"),
        ("csg-report", "build", "runs", "--out", "loop"),
        ("csg-train", "run", recipe_file, "--set", "data.source.root=loop", "--out", "b"),
        ("csg-analyze", "energy", "loop/ckpt.pt"),
    ):
        assert_user_error(command(*words, cwd=tmp_path), "loop")
