"""The GPU's pass over pairs, here on the processor: that it asks the device nothing tile by tile, and what it mends."""

import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.energy.positions import Positions
from csg_analysis.energy.tiles import _GROUP, Tiles, _Side
from csg_analysis.energy.unit_rows import UnitRows
from tests.analysis.energy.cases import brute_force, clusters


@pytest.fixture(autouse=True)
def tiled(monkeypatch):
    monkeypatch.setattr("csg_analysis.energy.pairs._TILED", "cpu")


def tiles(rows, block=None, labels=None):
    return Tiles(Positions(UnitRows(rows), (0.0, 0.5, 1.0, 2.0), labels), block)


class Counted(TorchDispatchMode):
    number = 0

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        self.number += 1
        return function(*args, **kwargs or {})


def test_a_tile_is_queued_without_a_look_at_it():
    """Tensors without values cannot be looked at."""
    ours = tiles(clusters(1100, 72, 1e-3, 4), 256, torch.arange(1100) % 5)
    ours.positions.labels_N = ours.positions.labels_N.to("meta")
    sides = [ours.load(start, start + 256, torch.float32) for start in (0, 256)]
    empty = [_Side(side.start, side.stop, *(part.to("meta") for part in side[2:])) for side in sides]
    for row, column in ((empty[0], empty[0]), (empty[0], empty[1])):
        sums, near_BC = ours.tile(row, column)
        assert sums.rows.device.type == near_BC.device.type == "meta"


def test_classes_cost_a_tile_few_operations_however_many_they_are():
    """Each is a launch: not some for each run of a class among the rows of a tile."""
    ours = tiles(clusters(1100, 72, 1e-3, 40), 550, torch.arange(1100) % 30)
    sides = [ours.load(start, start + 550, torch.float32) for start in (0, 550)]
    with Counted() as counted:
        ours.tile(*sides)
    assert counted.number < 100


def test_the_host_waits_once_in_some_tiles(monkeypatch):
    ours = tiles(clusters(1100, 72, 1.0, 1), 64)
    looks, settle = [], Tiles.settle
    monkeypatch.setattr(Tiles, "settle", lambda self: (looks.append(len(self.waiting)), settle(self)))
    ours.run(0, 1)
    assert sum(looks) == 18 * 19 // 2
    assert len(looks) == -(-sum(looks) // _GROUP)


def test_a_tile_with_many_near_pairs_is_computed_again_in_float64(monkeypatch):
    """A tight cluster of which the sample of 1024 rows has none to lead it: other tiles stay in float32."""
    rows = clusters(1500, 80, 1.0, 1)
    tight = np.setdiff1d(np.arange(1500), np.arange(1024) * 1500 // 1024)[:40]
    rows[tight] = rows[0] + 1e-4 * rows[200 + tight]
    computed, tile = [], Tiles.tile
    monkeypatch.setattr(
        Tiles, "tile", lambda self, row, column: (computed.append(row.residual.dtype), tile(self, row, column))[1]
    )
    labels = np.arange(1500) // 375
    energy = hyperspherical_energy(rows, labels=labels, block_rows=200)
    assert computed.count(torch.float64) == 1
    assert computed.count(torch.float32) == 8 * 9 // 2
    for s, estimate in energy.paper.items():
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-6, abs=2e-9)
        assert estimate.within == pytest.approx(brute_force(rows, s, labels, within=True), rel=1e-6, abs=2e-9)


def test_near_pairs_are_listed_in_parts(monkeypatch):
    rows = clusters(1200, 72, 0.5, 1)
    rows[600:] = rows[:600] * (1 + 1e-4 * clusters(600, 72, 1.0, 1, seed=1))
    whole = hyperspherical_energy(rows, block_rows=128)
    monkeypatch.setattr("csg_analysis.energy.tiles._LISTED", 50)
    parts = hyperspherical_energy(rows, block_rows=128)
    for s, estimate in whole.paper.items():
        assert parts.paper[s].value == pytest.approx(estimate.value, rel=1e-13)
        assert parts.paper[s].standard_error == pytest.approx(estimate.standard_error, rel=1e-10)
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-6)


def test_a_panel_leaves_before_the_next_comes(monkeypatch):
    """With the rows in memory are the columns of the tiles that wait to be settled, and no other panel."""
    ours = tiles(clusters(2000, 72, 1.0, 1), 64)
    ours.panel = 16 * 64
    loaded, alive, load = [], [], Tiles.load

    def counted(self, start, stop, dtype):
        side = load(self, start, stop, dtype)
        loaded.append(weakref.ref(side.residual))
        alive.append(sum(one() is not None for one in loaded))
        return side

    monkeypatch.setattr(Tiles, "load", counted)
    ours.run(0, 1)
    assert len(loaded) == 32 + 16  # each is in one of two panels, those of the second are columns of the first too
    assert max(alive) == 16 + _GROUP // 16 + 1
