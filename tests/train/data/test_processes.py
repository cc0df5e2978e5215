"""Loader processes that die while a batch of theirs is being received."""

import errno
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import active_children

import pytest
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as TorchIterator

from csg_train.data.loaders import processes
from csg_train.data.loaders.processes import iterate
from csg_train.errors import UserError

BROKEN_OFF = [
    ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
    ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)),
    EOFError(),
]


@pytest.mark.parametrize("error", BROKEN_OFF, ids=lambda error: type(error).__name__)
def test_a_process_that_dies_while_its_batch_is_received(error, monkeypatch):
    """The batch breaks off before the system tells of the death, here by 0.2 seconds."""
    known = set(active_children())

    def break_off(_iterator, **_options):
        worker = next(process for process in active_children() if process not in known)
        threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL)).start()
        raise error

    monkeypatch.setattr(TorchIterator, "_try_get_data", break_off)
    with pytest.raises(UserError, match=r"train\.workers: a loader process was ended by SIGKILL"):
        next(iterate(DataLoader(range(4), num_workers=2)))


def test_an_error_while_every_process_lives_is_another(monkeypatch):
    def fail(_iterator, **_options):
        raise BROKEN_OFF[0]

    monkeypatch.setattr(TorchIterator, "_try_get_data", fail)
    monkeypatch.setattr(processes, "_MOMENT", 0.0)
    with pytest.raises(ConnectionResetError):
        next(iterate(DataLoader(range(4), num_workers=2)))


def test_a_process_whose_program_was_killed_before_torch_watches_ends():
    """It waited for batches for ever, and the memory of the run with it."""
    code = (
        "import multiprocessing, os, signal, time\n"
        "from csg_train.data.loaders.processes import end_with_feeder\n"
        "def load(program):\n"
        "    while os.getppid() == program: time.sleep(0.01)\n"
        "    end_with_feeder(0)\n"
        "    os.write(1, b'waits for batches')\n"
        "multiprocessing.set_start_method('fork')\n"
        "multiprocessing.Process(target=load, args=[os.getpid()]).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (-signal.SIGKILL, b"")


def test_without_a_temporary_folder(monkeypatch):
    """Processes hand their batches over through a socket in it."""

    def fail(*_, **_options):
        raise FileNotFoundError("No usable temporary directory found")

    def lose(_iterator, **_options):
        raise RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly")

    monkeypatch.setattr(TorchIterator, "_try_get_data", lose)
    loader = iterate(DataLoader(range(4), num_workers=2))
    with monkeypatch.context() as patch:
        patch.setattr(processes.tempfile, "gettempdir", fail)
        with pytest.raises(UserError, match=r"no temporary folder can be written \(set TMPDIR\)"):
            next(loader)
