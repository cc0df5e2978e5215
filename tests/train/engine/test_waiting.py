"""The waiting time by a clock that the test moves, on a CPU and by the events of a GPU."""

import torch

from csg_train.engine.waiting import Waits

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


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


def test_a_gpu_says_how_busy_it_was_behind_the_first_steps(clock, monkeypatch):
    """Once a second, whatever the number of steps; where the driver does not tell, the line says so."""
    asked = []

    def utilization(device):
        asked.append(clock.now)
        return 100 if len(asked) % 2 else 80

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    waits = Waits(batches(clock, [0.25] * 21), CUDA)
    for _ in waits:
        clock.behind += 0.25
    assert asked == [1.5, 2.5, 3.5, 4.5]
    assert str(waits).endswith("; GPU busy: 90% (nvidia-smi, all programs, 4 times)")

    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 1 / 0)
    waits = Waits(batches(clock, [0.25] * 21), CUDA)
    assert len([*waits]) == 21
    assert "; GPU busy: unknown (pip install nvidia-ml-py;" in str(waits)
