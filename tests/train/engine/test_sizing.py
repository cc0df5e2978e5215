"""Loader processes of a training by measurement: how many, and that the batches are those of one process."""

import os
import time
from pathlib import Path

import pytest
import torch

from csg_train.data.loaders import workers as cores
from csg_train.data.loaders.loader import evaluation_batches, training_batches
from csg_train.data.loaders.segmentation_loader import whole_pictures
from csg_train.data.loaders.workers import measuring_workers, spare_cores
from csg_train.data.readers.images import image_folder
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.engine.sizing import sized_batches

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def twelve_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)))
    monkeypatch.setattr("csg_train.data.loaders.workers._QUOTA", Path("no-such-file"))


def test_all_cores_where_the_system_does_not_tell_which_are_ours(monkeypatch):
    """macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("csg_train.data.loaders.workers._QUOTA", Path("no-such-file"))
    assert spare_cores() == 7


def same(ours, theirs) -> bool:
    return all(
        torch.equal(one.labels, other.labels) and torch.equal(one.views[0], other.views[0])
        for one, other in zip(ours, theirs, strict=True)
    )


def test_one_core_of_this_process_share_gives_the_gpu_its_work(twelve_cores, monkeypatch):
    assert spare_cores() == 11
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert spare_cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "12")
    assert spare_cores() == 1


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 11), ("400000 100000", 3), ("250000 100000", 2), ("50000 100000", 1), ("", 11)]
)
def test_a_container_s_share_of_the_cores_counts(quota, cores, twelve_cores, tmp_path, monkeypatch):
    """Docker's ``--cpus 4`` leaves every core in sight."""
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr("csg_train.data.loaders.workers._QUOTA", tmp_path / "cpu.max")
    assert spare_cores() == cores


def test_a_process_that_would_load_one_batch_is_not_started(twelve_cores):
    assert measuring_workers("auto", CPU, 1000) == 0
    assert [measuring_workers("auto", CUDA, batches) for batches in (1, 2, 7, 1000)] == [0, 1, 3, 11]
    assert [measuring_workers(4, CPU, batches) for batches in (1, 5, 1000)] == [0, 2, 4]
    assert measuring_workers(0, CUDA, 1000) == 0


@pytest.mark.parametrize(
    ("load", "step", "expected"),
    [
        (0.3, 0.1, 5),  # 1.5 x 0.3 / 0.1, rounded up
        (0.01, 0.1, 1),
        (9.0, 0.1, 11),  # the cores that are left
    ],
)
@pytest.mark.parametrize("start", [0, 100])
def test_auto_counts_what_a_batch_costs_over_what_a_step_takes(
    load, step, expected, start, clock, twelve_cores, monkeypatch, capsys
):
    """Steps that the GPU is given in no time, of which the first takes a minute for cuDNN's choice."""
    monkeypatch.setattr(time, "process_time", lambda: 0.0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: clock.catch_up())
    asked = []

    def make(first, behind, workers):
        asked.append((first, behind, workers))
        for number in range(first, behind):
            clock.now += load if workers == 0 else 0.0
            yield number

    seen = []
    for number in sized_batches(make, start=start, stop=start + 9, workers="auto", device=CUDA):
        seen.append(number)
        clock.behind += 60.0 if number == start else step
    assert seen == [*range(start, start + 9)]
    assert asked == [(start, start + 5, 0), (start + 5, start + 9, expected)]
    assert f"loader processes: {expected} " in capsys.readouterr().out


def test_short_runs_and_numbers_are_loaded_as_they_are(clock, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)
    asked = []

    def make(*given):
        asked.append(given)
        return iter(range(given[0], given[1]))

    for workers, device, stop in (("auto", CUDA, 3), ("auto", CPU, 9), (4, CUDA, 9), (0, CUDA, 9)):
        assert len([*sized_batches(make, start=0, stop=stop, workers=workers, device=device)]) == stop
    assert asked == [(0, 3, 0), (0, 9, 0), (0, 9, 4), (0, 9, 0)]


def test_batches_are_the_same_whoever_loads_them(trees, masked_tree, monkeypatch):
    """Bit for bit: sized by measurement in the middle of an epoch, and while a network is measured."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)
    images, masked = image_folder(trees / "source", name="any"), masked_folder(masked_tree)

    def make(start, stop, workers):
        options = {"size": 32, "fit": "crop", "augment": "randaugment", "background": "plain"}
        choice = {"views": ("student",), "batch_size": 5, "sampling": "uniform", "seed": 0}
        return training_batches(images, start=start, stop=stop, workers=workers, options=options, **choice)

    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: {0, 1, 2})
    assert same(sized_batches(make, start=0, stop=8, workers="auto", device=CUDA), make(0, 8, 0))
    for workers in (2,):
        shown = {"size": 32, "fit": "pad", "batch_size": 5}
        assert same(evaluation_batches(images, workers=workers, **shown), evaluation_batches(images, **shown))
        whole = whole_pictures(masked, longest_side=30, workers=workers)
        assert same(whole, whole_pictures(masked, longest_side=30))


def test_masks_travel_as_bytes_and_are_int64_on_the_device(masked_tree):
    batch = next(whole_pictures(masked_folder(masked_tree), longest_side=None))
    assert batch.labels.dtype == torch.uint8
    there = batch.to(CPU)
    assert (there.labels.dtype, there.views[0].dtype) == (torch.int64, torch.uint8)
    assert torch.equal(there.labels, batch.labels)
    assert (batch.labels == 255).any()
