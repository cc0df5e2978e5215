"""The energy as a torchmetrics metric: any order of batches, two gloo processes against one, pictures counted once."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.energy.metric import HypersphericalEnergy
from csg_train.errors import UserError
from tests.commands import together


def rows(count: int = 41, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 7, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("convention", ["paper", "mhe"])
@pytest.mark.parametrize("s", [0, 0.5, 2])
@pytest.mark.parametrize("sizes", [[41], [1] * 41, [20, 1, 20]])
def test_any_batches_in_any_order_are_the_energy_of_all_rows(s, convention, sizes):
    features = rows()
    expected = getattr(hyperspherical_energy(features, s=s), convention)[s].value
    metric = HypersphericalEnergy(s=s, convention=convention)
    shuffled = features[torch.randperm(41, generator=torch.Generator().manual_seed(1))]
    for batch in shuffled.split(sizes):
        metric.update(batch)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-12)
    metric.reset()
    metric.update(features[:5])
    assert metric.compute().item() == pytest.approx(
        getattr(hyperspherical_energy(features[:5], s=s), convention)[s].value
    )


def test_an_antipodal_pair_by_hand():
    """|u - v| = 2: -ln 2 in the paper's convention, -2 ln 2 in MHE's, 1/2 for s = 1; lengths do not matter."""
    pair = torch.tensor([[3.0, 0.0], [-0.1, 0.0]])
    given = {("paper", 0): -np.log(2), ("mhe", 0): -2 * np.log(2), ("mhe", 1): 0.5}
    for (convention, s), value in given.items():
        metric = HypersphericalEnergy(s=s, convention=convention)
        assert metric(pair).item() == pytest.approx(value, rel=1e-12)  # one call is the batch's value and an update
        assert metric.compute().item() == pytest.approx(value, rel=1e-12)


def test_a_picture_counts_once_whatever_a_sampler_repeats():
    features = rows()
    metric = HypersphericalEnergy()
    again = features[:3] * (1 + 1e-6 * rows(3, seed=2))  # rounded otherwise, as in a batch of another size
    metric.update(torch.cat([features, again]), torch.cat([torch.arange(41), torch.arange(3)]))
    assert metric.compute().item() == pytest.approx(hyperspherical_energy(features, s=0).mhe[0].value, rel=1e-12)


def test_equal_rows_of_two_pictures_stay_two():
    features = torch.cat([rows(), rows()[:1]])
    metric = HypersphericalEnergy(coincident="infinite")
    metric.update(features, torch.arange(42))
    assert metric.compute().item() == float("inf")


def test_facts_of_a_metric():
    metric = HypersphericalEnergy()
    assert (metric.higher_is_better, metric.is_differentiable, metric.full_state_update) == (False, False, False)
    leaf = rows().requires_grad_()
    metric.update(leaf * 2)
    assert not metric.features[0].requires_grad
    assert metric.compute().dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"s": -1}, "s=-1"),
        ({"convention": "table"}, "convention 'table'"),
        ({"coincident": "clamp"}, "coincident='clamp'"),
    ],
)
def test_what_is_not_known_is_refused_at_once(options, message):
    with pytest.raises(UserError, match=message):
        HypersphericalEnergy(**options)


@pytest.mark.parametrize(
    ("features", "index", "message"),
    [
        (rows()[0], None, r"features of shape \(7,\)"),
        (rows().long(), None, "int64"),
        (rows().numpy(), None, "features in a ndarray; give a tensor"),
        (rows(4), torch.arange(3), r"index of shape \(3,\)"),
        (rows(4), [0, 1, 2, 3], "index in a list; give a tensor"),
        (rows(4), torch.tensor([0, 1, 2, -1]), "whole number >= 0"),
        (rows(4), torch.arange(4) / 2, "float32"),
        (rows(4), torch.tensor([0, 1, 7, 7]), "index 7: two rows that differ"),
    ],
)
def test_mistakes(features, index, message):
    metric = HypersphericalEnergy()
    with pytest.raises(UserError, match=message):
        metric(features, index)


def test_rows_of_another_width_are_refused_when_they_come():
    metric = HypersphericalEnergy()
    metric.update(torch.eye(3))
    with pytest.raises(UserError, match="4 features a row after 3; give as many"):
        metric.update(torch.eye(4))
    with pytest.raises(UserError, match=r"torch.float64 after torch.float32; give one type"):
        metric.update(torch.eye(3, dtype=torch.float64))


def measured_by(rank: int, features: torch.Tensor, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    sampler = DistributedSampler(features, num_replicas=2, rank=rank, shuffle=True, seed=3)
    metric, seen = HypersphericalEnergy(s=2), 0
    for index in DataLoader(torch.arange(len(features)), sampler=sampler, batch_size=4):
        metric.update(features[index], index)
        seen += len(index)
    value = metric.compute().item()
    with pytest.raises(ValueError, match="index") as refused:
        metric.update(features[:2])
    dist.destroy_process_group()
    (folder / f"result{rank}.json").write_text(json.dumps([value, seen, str(refused.value)]))


def test_two_processes_equal_one_though_the_sampler_repeats_a_picture(tmp_path):
    features = rows()
    together(measured_by, (0, features, tmp_path), (1, features, tmp_path))
    results = [json.loads((tmp_path / f"result{rank}.json").read_text()) for rank in range(2)]
    expected = hyperspherical_energy(features, s=2).mhe[2].value
    for value, seen, refused in results:
        assert seen == 21  # of 41 pictures: one is there twice
        assert value == pytest.approx(expected, rel=1e-12)
        assert "no index" in refused
    repeated = hyperspherical_energy(torch.cat([features, features[:1]]), s=2).mhe[2].value
    assert repeated != pytest.approx(expected, rel=1e-6)


def measured_without_rows(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    metric = HypersphericalEnergy()
    if rank == 0:
        metric.update(rows(5), torch.arange(5))
    values = [metric.compute().item()]
    metric.reset()
    with pytest.raises(UserError, match="no process has rows"):
        metric.compute()
    metric.update(rows(3).to((torch.float32, torch.float64)[rank]), torch.arange(3) + 3 * rank)
    with pytest.raises(UserError, match=r"rows of torch\.float32 .* and torch\.float64"):
        metric.compute()
    dist.destroy_process_group()
    (folder / f"result{rank}.json").write_text(json.dumps(values))


def test_a_process_without_rows_gives_none(tmp_path):
    """It broke every process, with gloo's words."""
    together(measured_without_rows, (0, tmp_path), (1, tmp_path))
    for rank in range(2):
        (value,) = json.loads((tmp_path / f"result{rank}.json").read_text())
        assert value == pytest.approx(hyperspherical_energy(rows(5)).mhe[0].value, rel=1e-12)


def test_without_torchmetrics_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "csg_analysis.energy.metric")
    with pytest.raises(ImportError, match=r"pip install 'csg-toolkit\[metrics\]'"):
        importlib.import_module("csg_analysis.energy.metric")


def test_copies_in_half_precision_are_of_one_picture_whatever_their_length():
    """Rounding moves them by up to 2^-11 of their length."""
    features = 300 * rows()
    metric = HypersphericalEnergy()
    metric.update(torch.cat([features, features[:3].half().float()]), torch.cat([torch.arange(41), torch.arange(3)]))
    assert metric.compute().item() == pytest.approx(hyperspherical_energy(features, s=0).mhe[0].value, rel=1e-12)


def test_an_index_is_named_whose_rows_are_a_fiftieth_apart_and_not_that_of_copies():
    features = torch.eye(7)[[0, 1, 0, 1]]
    features[3, 0] = 0.02
    metric = HypersphericalEnergy()
    metric.update(features, torch.tensor([4, 5, 4, 5]))
    with pytest.raises(UserError, match="index 5: two rows that differ"):
        metric.compute()
