"""The real commands in a process of their own, forked from one that has imported everything: an import takes seconds.

`test_command_line.py` starts them as the shell does.
"""

import ctypes
import importlib
import multiprocessing
import os
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess as Done

import csg_analysis
import csg_train

__all__ = ["CLOSED", "ENTRIES", "UNREAD", "Done", "as_others", "assert_user_error", "command", "commands", "together"]

CLOSED, UNREAD = "<closed>", "<unread>"

ENTRIES = {"csg-train": "csg_train.cli", "csg-analyze": "csg_analysis.cli", "csg-report": "csg_analysis.report.cli"}
_FORKED = multiprocessing.get_context("forkserver")
_MODULES = [
    module.name
    for package in (csg_train, csg_analysis)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
]
_FORKED.set_forkserver_preload(["tests.narrow", *_MODULES])


def _enter(
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str],
    streams: list[str],
    before: Callable[[], object] = int,
) -> None:
    for number, path in enumerate(streams):
        if path == UNREAD:
            reader, writer = os.pipe()
            os.dup2(writer, number)
            os.close(reader)
        elif path != CLOSED:
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    if CLOSED in streams:
        os.close(streams.index(CLOSED))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    multiprocessing.set_start_method("fork", force=True)  # of its own children, as in a program that the shell starts
    importlib.import_module("tests.narrow")
    importlib.import_module("torch").set_num_threads(1)
    before()
    importlib.import_module(ENTRIES[arguments[0]]).main()


def command(
    name: str,
    *arguments: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdout: str | None = None,
    before: Callable[[], object] = int,
    during: Callable[[int], object] = lambda _pid: None,
) -> Done:
    """Run ``csg-train``, ``csg-analyze`` or ``csg-report`` as a user would.

    ``stdout`` is a file for it, `CLOSED`, or `UNREAD`: a pipe that nobody reads. ``before``, a function of a module, is
    called in the process before the program; ``during`` here, with the id of the process once it has started.
    """
    words = [name, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        out, error = f"{folder}/out", f"{folder}/err"
        streams = [f"{folder}/in", stdout or out, error]
        process = _FORKED.Process(target=_enter, args=(words, cwd, os.environ | (env or {}), streams, before))
        process.start()
        try:
            during(process.pid)
            process.join(300)
            if process.is_alive():
                raise TimeoutError(f"{words}: did not end in time")
        finally:
            process.kill()
        return Done(words, process.exitcode, Path(out).read_text() if not stdout else "", Path(error).read_text())


def commands(
    name: str, *arguments: object, cwd: Path, envs: list[Mapping[str, str]], before: Callable[[], object] = int
) -> list[Done]:
    """The same command several times at once, each with variables of its own."""
    words = [name, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        started = []
        for number, env in enumerate(envs):
            streams = [f"{folder}/{stream}{number}" for stream in ("in", "out", "err")]
            process = _FORKED.Process(target=_enter, args=(words, cwd, os.environ | env, streams, before))
            process.start()
            started.append((process, streams))
        for process, _ in started:
            process.join(300)
        if hanging := [process for process, _ in started if process.is_alive()]:
            for process in hanging:
                process.kill()
            raise TimeoutError(f"{words}: {len(hanging)} of {len(started)} did not end in time")
        return [
            Done(words, process.exitcode, Path(out).read_text(), Path(error).read_text())
            for process, (_, out, error) in started
        ]


def together(act: Callable[..., object], *given: tuple[object, ...]) -> None:
    """Call a function of a module in processes of its own at once, one for each tuple of arguments; none may fail."""
    processes = [_FORKED.Process(target=act, args=arguments) for arguments in given]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * len(given)


def as_others() -> None:
    """For ``before``: root may read everything; give that up, for the command alone."""
    if os.geteuid() == 0:
        version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(version, none) == 0


def assert_user_error(result: Done, *parts: str) -> None:
    """Exit code 2, exactly one line on standard error, no traceback, and the parts in it."""
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr + result.stdout
    line = result.stderr.strip().splitlines()
    assert len(line) == 1, result.stderr
    for part in parts:
        assert part in line[0], f"{part!r} not in {line[0]!r}"
