"""Loader processes that die, outputs that close, signals, pictures that break in the middle: the real commands."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from csg_analysis.report import build
from csg_train.commands.options import Commands
from csg_train.console import console, print_table
from csg_train.engine import loop
from csg_train.engine.interrupts import Interrupts
from csg_train.files import together
from csg_train.program import start
from csg_train.runs.checkpoint import load_checkpoint
from tests.commands import CLOSED, UNREAD, assert_user_error, command
from tests.conftest import keep_no_pictures, write_tree

ENDLESS = ("--set", "train.steps=100000", "--set", "train.log_every=1", "--set", "train.save_every=100000")


def when(ready: Callable[[], object], act: Callable[[int], object]) -> Callable[[int], None]:
    """Act on the process as soon as something holds."""

    def wait(pid: int) -> None:
        deadline = time.monotonic() + 120
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        act(pid)

    return wait


def grown(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > 0


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def assert_saved(out: Path) -> int:
    """The checkpoint and the log hold the same steps."""
    step = load_checkpoint(out / "ckpt.pt").step
    assert step > 0
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [*range(1, step + 1)]
    return step


def test_a_killed_loader_process_is_one_line_and_the_steps_are_saved(recipe_file, tmp_path):
    out = tmp_path / "run"
    kill = when(grown(out / "log.jsonl"), lambda pid: os.kill(children(pid)[-1], signal.SIGKILL))
    arguments = ("run", recipe_file, *ENDLESS, "--set", "train.workers=2", "--out", out)
    result = command("csg-train", *arguments, cwd=tmp_path, during=kill)
    assert_user_error(result, "train.workers", "SIGKILL", "train.workers=0", "--shm-size")
    assert f"saved at step {assert_saved(out)}; continue with --resume" in result.stdout


def test_shared_memory_that_is_too_small(recipe_file, tmp_path):
    """128 kB hold the locks of the processes and no batch."""
    shell = f'mount -t tmpfs -o size=128k tmpfs /dev/shm && exec {sys.executable} -m tests.narrow "$@"'
    isolated = ["unshare", "-m", "sh", "-c"]
    if os.geteuid() or subprocess.run([*isolated, "mount -t tmpfs tmpfs /dev/shm"], check=False).returncode:
        pytest.skip("mount needs root; the test of a batch that cannot be handed over stands for it")
    sets = ("--set", "train.workers=2", "--set", "data.size=160", "--set", "train.batch_size=8")
    result = subprocess.run(
        [*isolated, shell, "sh", "run", str(recipe_file), *sets, "--out", str(tmp_path / "run")],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = result.stderr.splitlines()
    ours = [line for line in lines if "Unexpected bus error encountered in worker" not in line]
    # torch 2.8 ends them so, and says it for each
    reason = "could not hand over its batch" if ours == lines else "was ended by SIGBUS"
    result.stderr = "\n".join(ours)
    assert_user_error(result, reason, "of 131.1 kB of /dev/shm are free", "train.workers=0")


@pytest.mark.parametrize("stdout", [UNREAD, CLOSED, "/dev/full"])
def test_training_goes_on_when_nobody_listens(stdout, recipe_file, tmp_path):
    result = command("csg-train", "run", recipe_file, "--out", tmp_path / "run", cwd=tmp_path, stdout=stdout)
    assert result.returncode == 0
    assert result.stderr.count("\n") == (stdout != UNREAD)
    assert ("standard output: cannot write" in result.stderr) == (stdout != UNREAD)
    assert (tmp_path / "run" / "accuracy-target.json").exists()


@pytest.mark.parametrize("arguments", [("methods",), ("methods", "--json"), ("run", "--json")])
def test_an_output_that_is_the_product_ends_with_its_reader(arguments, recipe_file, tmp_path):
    if arguments[0] == "run":
        arguments = ("run", recipe_file, "--json", "--quiet", "--out", tmp_path / "run")
    unread = command("csg-train", *arguments, cwd=tmp_path, stdout=UNREAD)
    assert (unread.returncode, unread.stderr) == (141, "")
    if arguments[0] == "run":
        arguments = (*arguments, "--resume")
        assert (tmp_path / "run" / "accuracy-target.json").exists()
    assert_user_error(command("csg-train", *arguments, cwd=tmp_path, stdout="/dev/full"), "No space left on device")


def test_bytes_to_a_full_output_are_no_traceback(tmp_path):
    """Which the Tab key's script is written as."""
    env = {"_CSG_TRAIN_COMPLETE": "bash_source"}
    result = command("csg-train", cwd=tmp_path, env=env, stdout="/dev/full")
    assert (result.returncode, result.stderr.count("\n")) == (0, 1)
    assert "standard output: cannot write (No space left on device)" in result.stderr


def test_sheets_are_written_whoever_reads_the_table(recipe_file, tmp_path):
    result = command("csg-train", "data", "check", recipe_file, "--sheet", "s", cwd=tmp_path, stdout=UNREAD)
    assert (result.returncode, result.stderr) == (141, "")
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"source.png", "target.png"}


def test_a_pipe_that_does_not_block_loses_nothing():
    """As some programs leave it: a full pipe is no error."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = "from csg_train.program import start; start(); print('x' * 300_000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert len(stream.read()) == 300_001
        assert (process.wait(), process.stderr.read()) == (0, b"")


@pytest.mark.parametrize(("encoding", "program"), [("ascii", "csg-train"), ("latin-1", "csg-train")])
def test_an_encoding_that_cannot_hold_a_character(encoding, program, tmp_path):
    words = [sys.executable, "-m", "csg_train", "methods"]
    env = os.environ | {"PYTHONIOENCODING": encoding}
    result = subprocess.run(words, env=env, capture_output=True, check=False, timeout=120)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode(encoding).count("fields: ") > 5


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step(number, recipe_file, tmp_path):
    """Also in the log, which is written every seventh step."""
    out = tmp_path / "run"
    send = when(grown(out / "log.jsonl"), lambda pid: os.kill(pid, number))
    sets = (*ENDLESS, "--set", "train.log_every=7")
    result = command("csg-train", "run", recipe_file, *sets, "--out", out, cwd=tmp_path, during=send)
    assert (result.returncode, result.stderr) == (128 + number, "")
    assert f"interrupted and saved at step {assert_saved(out)}" in result.stdout


def end_in_the_last_step() -> None:
    original = loop._Run._train_step

    def ended(self: object, batch: object) -> None:
        original(self, batch)
        if self.step == self.recipe.train.steps:
            os.kill(os.getpid(), signal.SIGTERM)

    loop._Run._train_step = ended


def test_a_signal_in_the_last_step_is_none_to_go_on(recipe_dict, recipe_file, tmp_path):
    """It was swallowed: the run was measured, and a sweep began the next."""
    result = command("csg-train", "run", recipe_file, "--out", "run", cwd=tmp_path, before=end_in_the_last_step)
    assert (result.returncode, result.stderr) == (143, "")
    assert "interrupted and saved at step 5" in result.stdout
    assert not list((tmp_path / "run").glob("accuracy-*"))
    whole = command("csg-train", "run", recipe_file, "--out", "whole", cwd=tmp_path)
    resumed = command("csg-train", "run", recipe_file, "--out", "run", "--resume", cwd=tmp_path)
    assert (whole.returncode, resumed.returncode) == (0, 0), resumed.stderr
    for name in ("ckpt.pt", "log.jsonl", "accuracy-target.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves_the_step(number, recipe_file, tmp_path):
    """As a terminal, a shell or timeout(1) sends it: loader processes get it too, here while they are waited for."""
    write_tree(tmp_path / "own", side=900, per_class=2)

    def send(pid: int) -> None:
        for one in (pid, *children(pid)):
            os.kill(one, number)

    sets = (*ENDLESS, "--set", f"data.source.root={tmp_path / 'own'}", "--set", "train.workers=2")
    during = when(grown(tmp_path / "run" / "log.jsonl"), send)
    result = command("csg-train", "run", recipe_file, *sets, "--out", tmp_path / "run", cwd=tmp_path, during=during)
    assert (result.returncode, result.stderr) == (128 + number, "")
    assert f"interrupted and saved at step {assert_saved(tmp_path / 'run')}" in result.stdout


def test_a_signal_that_comes_twice_at_once_saves_the_step(recipe_file, tmp_path):
    """As timeout(1) and a shell that is hung up send it."""

    def send(pid: int) -> None:
        for _ in range(2):
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)

    during = when(grown(tmp_path / "run" / "log.jsonl"), send)
    result = command("csg-train", "run", recipe_file, *ENDLESS, "--out", tmp_path / "run", cwd=tmp_path, during=during)
    assert (result.returncode, result.stderr) == (128 + signal.SIGTERM, "")
    assert_saved(tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_half_of_a_file(number, trees, recipe_file, tmp_path):
    command("csg-train", "run", recipe_file, "--set", "train.steps=1", "--out", tmp_path / "run", cwd=tmp_path)
    out = tmp_path / "out"
    begun = lambda: any(path.stat().st_size for path in out.glob(".*.tmp"))  # noqa: E731
    send = when(begun, lambda pid: os.kill(pid, number))
    words = ("predict", tmp_path / "run" / "ckpt.pt", *[trees] * 40, "--out", out / "p.csv")
    result = command("csg-train", *words, cwd=tmp_path, during=send)
    assert (result.returncode, result.stderr) == (128 + number, "")
    assert not list(out.iterdir())


def files_of_a_folder() -> None:
    with together(Path("out")) as new:
        for name in "abc":
            (new / name).write_text("1")


def a_report() -> None:
    pages = {
        "index.html": b"",
        "report.md": b"",
        "files.json": b'{"index.html": "", "report.md": "", "a": "", "b": ""}',
    }
    build.report_files = lambda _: {"a": b"1", "b": b"1"} | pages
    build.make_report = build.load_runs = build.unmeasured = lambda *_, **__: []
    build.build_report([], Path("out"), allow_mixed=True)


def signal_after_rename(at: int, write: Callable[[], None]) -> None:
    """Of a new file to its place."""
    replace, count = Path.replace, itertools.count(1)

    def interrupted(path: Path, place: Path) -> None:
        replace(path, place)
        if ".tmp" not in str(place) and next(count) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    start()
    Path.replace = interrupted
    write()


@pytest.mark.parametrize("write", [files_of_a_folder, a_report])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_files_that_belong_together_are_moved_whatever_signal_comes(write, at, tmp_path):
    """A mixture of old and new ones stayed."""
    (tmp_path / "out").mkdir()
    listed = json.dumps(dict.fromkeys(("index.html", "report.md", "a", "b", "gone"), ""))
    for name in ("a", "b", "c", "gone", "index.html", "report.md"):
        (tmp_path / "out" / name).write_text("0")
    (tmp_path / "out" / "files.json").write_text(listed)
    result = command("csg-train", "--version", cwd=tmp_path, before=partial(signal_after_rename, at, write))
    assert (result.returncode, result.stdout, result.stderr) == (143, "", "")
    left = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert (left["a"], left["b"]) == ("1", "1")
    assert left["c"] == ("1" if write is files_of_a_folder else "0")
    assert ("gone" in left) == (write is files_of_a_folder)


def signal_after_each_rename() -> None:
    replace = Path.replace

    def interrupted(path: Path, place: Path) -> None:
        replace(path, place)
        os.kill(os.getpid(), signal.SIGTERM)

    Path.replace = interrupted


def test_a_table_and_its_definition_are_written_whatever_signal_comes(recipe_file, trees, tmp_path):
    """The definition of one checkpoint stayed beside the table of another."""
    command("csg-train", "run", recipe_file, "--set", "train.steps=1", "--out", tmp_path / "run", cwd=tmp_path)
    words = ("predict", tmp_path / "run" / "ckpt.pt", trees / "target")
    result = command("csg-train", *words, cwd=tmp_path, before=signal_after_each_rename)
    assert (result.returncode, result.stderr) == (143, "")
    assert {path.name for path in tmp_path.glob("predictions*")} == {"predictions.csv", "predictions.csv.json"}


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_twice_in_python_ends_the_training_and_not_the_process(monkeypatch):
    """A notebook lost its kernel, and every variable."""
    monkeypatch.setattr("csg_train.engine.interrupts._ONE", 0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert interrupts.received == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_measuring(recipe_file, tmp_path):
    command("csg-train", "run", recipe_file, "--set", "train.steps=1", "--out", tmp_path / "0", cwd=tmp_path)
    copies = [shutil.copytree(tmp_path / "0", tmp_path / str(number)) / "ckpt.pt" for number in range(1, 40)]
    send = when(grown(tmp_path / "1" / "energy-target.json"), lambda pid: os.kill(pid, signal.SIGINT))
    result = command("csg-analyze", "energy", *copies, cwd=tmp_path, during=send)
    assert (result.returncode, result.stderr) == (130, "")


def test_ctrl_c_in_an_import_that_would_swallow_it(tmp_path):
    (tmp_path / "heavy.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    for _ in range(9): pass\n"
        "except BaseException:\n    pass\n"
    )
    code = "from csg_train.program import start; start(); import sys; sys.path.append('.'); import heavy; print('on')"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


def test_ctrl_c_in_a_destructor(tmp_path):
    code = (
        "from csg_train.program import start; start(); import os, signal\n"
        "class Last:\n    def __del__(self): os.kill(os.getpid(), signal.SIGINT); [None for _ in range(9)]\n"
        "Last(); print('on')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


@pytest.mark.parametrize("write", ["atomic_write(Path('out/a'), act)", "with together(Path('out/a')) as new: act(new)"])
@pytest.mark.parametrize("where", ["an import", "a destructor"])
def test_an_end_that_unwinds_nothing_leaves_no_half_of_a_file(write, where, tmp_path):
    """Nor does it of a process that was forked while the file is being written."""
    act = "os.kill(os.getpid(), signal.SIGINT); [None for _ in range(9)]"
    (tmp_path / "heavy.py").write_text(f"import os, signal\n{act}\n")
    code = (
        "from csg_train.program import start; start(); import os, signal, sys; sys.path.append('.')\n"
        "from pathlib import Path; from csg_train.files import atomic_write, together\n"
        f"class Last:\n    def __del__(self): {act}\n"
        "def act(_):\n    begun = [path.name for path in Path('out').iterdir()]\n"
        "    if not (child := os.fork()): os.setpgid(0, 0); end()\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130\n"
        "    assert [path.name for path in Path('out').iterdir()] == begun != []\n    end()\n"
        f"def end():\n    {'import heavy' if where == 'an import' else 'Last()'}\n{write}"
    )
    (tmp_path / "out").mkdir()
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (130, b"")
    assert not list((tmp_path / "out").iterdir())


def test_a_thread_that_loses_its_loader_process_is_silent():
    """torch's thread that pins memory, on machines with a GPU: what became of it is said where the batch is missed."""
    code = (
        "from csg_train.program import start; start(); import threading\n"
        "def fail(error): raise error\n"
        "for error in (ConnectionResetError(), EOFError(), KeyError('shown')):\n"
        "    one = threading.Thread(target=fail, args=(error,)); one.start(); one.join()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0
    assert result.stderr.count(b"Traceback") == 1
    assert b"KeyError: 'shown'" in result.stderr


def test_a_loader_process_that_loses_its_program_is_silent():
    """The thread that hands over its pictures reports to nobody when a signal ended the program in between."""
    code = (
        "import sys; from csg_train.data.loaders.processes import end_with_feeder; end_with_feeder(0)\n"
        "for error in (ConnectionResetError(), EOFError(), KeyError('shown')):\n"
        "    sys.excepthook(type(error), error, None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (result.returncode, result.stderr.decode().strip()) == (0, "KeyError: 'shown'")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fault", ["deleted", "truncated", "a folder"])
def test_pictures_that_break_in_the_middle_of_a_run(fault, workers, recipe_file, tmp_path):
    root, out = tmp_path / "own", tmp_path / "run"
    write_tree(root)

    def break_all(_pid: int) -> None:
        for path in root.rglob("*.png"):
            if fault == "truncated":
                path.write_bytes(path.read_bytes()[:200])
                continue
            path.unlink()
            if fault == "a folder":  # an error of the system, as a file without permission is
                path.mkdir()

    sets = (*ENDLESS, "--set", f"data.source.root={root}", "--set", f"train.workers={workers}")
    during = when(grown(out / "log.jsonl"), break_all)
    own = {"cwd": tmp_path, "before": keep_no_pictures, "during": during}
    result = command("csg-train", "run", recipe_file, *sets, "--out", out, **own)
    assert_user_error(result, str(root), ".png")
    assert f"saved at step {assert_saved(out)}; continue with --resume" in result.stdout


def test_starting_weights_that_are_not_finite(recipe_file, weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    state["layer1.0.conv1.weight"][0] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    arguments = ("run", recipe_file, "--weights", tmp_path / "nan.pt", "--out", tmp_path / "run")
    result = command("csg-train", *arguments, cwd=tmp_path)
    assert_user_error(result, str(tmp_path / "nan.pt"), "layer1.0.conv1.weight", "not finite")
    assert "train.lr" not in result.stderr
    assert "kept" not in result.stderr


@pytest.mark.parametrize("width", [20, 30, 45, 70, 100])
def test_rows_of_a_narrow_table_can_be_told_apart(width, monkeypatch, capsys):
    monkeypatch.setattr(console, "width", width)
    rows = [[f"runs/emoji-photos/csg-s{seed}/ckpt.pt", "0.123", f"{seed}.5 - 99.5"] for seed in range(10, 13)]
    print_table("energy", ["checkpoint", "E0 mhe", "95 % interval"], rows)
    shown = capsys.readouterr().out
    assert "…" not in shown
    folded = "".join(part for line in shown.splitlines() for part in line.strip("│┃ ").split("│")[0].split())
    for seed in range(10, 13):
        assert f"runs/emoji-photos/csg-s{seed}/ckpt.pt" in folded
        assert f"{seed}.5 - 99.5" in shown


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (MemoryError(), ""),
        (MemoryError("Unable to allocate 3.20 GiB for an array with shape (9, 9)"), "3.20 GiB"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "2.00 GiB"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 327680 bytes."),
            "327680 bytes",
        ),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), "unable to find an engine"),
    ],
)
def test_no_memory_is_one_line(error, asked):
    """Of numpy and Pillow, of torch on a GPU and on the host."""

    @click.command()
    def fail():
        raise error

    group = Commands("group")
    group.add_command(fail)
    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "Error: out of memory" in result.stderr
    assert asked in result.stderr
    assert "train.batch_size" in result.stderr
