"""Commands without what macOS or Windows lack: python -m tests.other_system SYSTEM, their words as JSON on its input.

It is no such system: files are still renamed and removed as Linux does it, and torch sees Linux.
"""

import builtins
import io
import json
import mmap
import multiprocessing
import os
import pathlib
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

FOLDERS = ("/proc", "/sys", "/dev/shm")  # noqa: S108 - never written
SIGNALS = ("SIGCHLD", "SIGCLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM")
MODULES = ("fcntl", "grp", "pwd", "resource", "termios")


def _without_folders(opened: Callable[..., Any]) -> Callable[..., Any]:
    def open_(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, str | pathlib.Path) and str(path).startswith(FOLDERS):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return opened(path, *arguments, **options)

    return open_


def as_macos() -> None:
    """No list of the processors that one may use, no /proc, no space set aside; new processes start anew."""
    del os.sched_getaffinity, os.posix_fallocate
    builtins.open = io.open = _without_folders(io.open)
    multiprocessing.set_start_method("spawn")


def as_windows() -> None:
    """Nor locks, users, most signals, or folders that can be opened."""
    import filelock  # noqa: F401 - it has Windows' own
    import torch.utils.data._utils.signal_handling as watch

    as_macos()
    watch._set_SIGCHLD_handler = int  # which torch does not call there
    for name in SIGNALS:
        delattr(signal, name)
    del mmap.MAP_PRIVATE, mmap.MAP_ANONYMOUS
    shutil._use_fd_functions = False  # folders are not removed through descriptors of folders
    for name in ("fork", "geteuid", "getuid", "killpg", "setsid"):
        delattr(os, name)
    sys.modules.update(dict.fromkeys(MODULES))  # an import of None is refused
    opened = os.open

    def open_(path: Any, *arguments: Any, **options: Any) -> int:
        if pathlib.Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    os.open = open_


def main() -> None:
    {"macos": as_macos, "windows": as_windows}[sys.argv[1]]()
    import importlib

    from tests.commands import ENTRIES

    importlib.import_module("tests.narrow")
    importlib.import_module("torch").set_num_threads(1)
    importlib.import_module("csg_train.program").start()
    for words in json.load(sys.stdin):
        sys.argv = words
        try:
            importlib.import_module(ENTRIES[words[0]]).main()
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    main()
