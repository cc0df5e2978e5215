"""A clock that a test moves, in the place of the wall clock and of a GPU's events."""

import time

import pytest
import torch


class Clock:
    """Stands for the wall clock, and for a GPU that is ``behind`` the host by some seconds."""

    now, behind = 0.0, 0.0

    def catch_up(self):
        self.now, self.behind = self.now + self.behind, 0.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self, stream):
            assert stream == "of cuda:1"  # not of the GPU that is the process's default
            self.passes = clock.now + clock.behind

        def query(self):
            return clock.now >= self.passes

        def elapsed_time(self, later):
            assert later.query()
            return 1000 * (later.passes - self.passes)

    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    return clock
