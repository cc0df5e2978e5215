"""The waiting time by a clock that the test moves, on a CPU and by the events of a GPU; the number of workers."""

import os

import torch

from csg_train.engine.waiting import Waits, worker_count

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def batches(clock, seconds):
    """Each takes so long to come, while the GPU goes on."""
    for duration in seconds:
        clock.now += duration
        clock.behind = max(0.0, clock.behind - duration)
        yield object()


def test_a_cpu_waits_as_long_as_its_batches_take(clock):
    waits = Waits(batches(clock, [1.0, 2.0, 0.0]), CPU)
    for _ in waits:
        clock.now += 3.0  # a step
    assert waits.waited == 3.0
    assert str(waits) == "3 steps in 12 s, 4 s each; waited for pictures: 25%"


def test_a_gpu_waits_only_when_it_has_caught_up(clock):
    """Steps of 3 s are given to the GPU in no time: batches of 1 s come before it is done, one of 5 s does not."""
    waits = Waits(batches(clock, [1.0, 1.0, 5.0, 1.0]), CUDA)
    for _ in waits:
        clock.behind += 3.0
    clock.catch_up()
    waits._read()
    assert waits.waited == 1.0  # before the first step; 2 + 3 s of work cover the batch of 5 s
    waits = Waits(batches(clock, [1.0, 5.0]), CUDA)
    for _ in waits:
        clock.behind += 3.0
    clock.now += 3.0
    waits._read()
    assert waits.waited == 1.0 + 2.0
    assert not waits.marks


def test_auto_takes_this_process_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)))
    assert worker_count("auto", CPU) == 0
    assert worker_count("auto", CUDA) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert worker_count("auto", CUDA) == 3
    assert worker_count(5, CPU) == worker_count(5, CUDA) == 5
