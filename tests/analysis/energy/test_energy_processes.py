"""The energy in processes of its own: the memory that it takes, and the sum over two processes."""

import itertools
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

from csg_analysis.energy.energy import hyperspherical_energy
from tests.analysis.energy.cases import clusters
from tests.commands import together

BEFORE = """
    import sys
    import numpy as np
    from benchmarks.memory import watched
    from csg_analysis.energy.energy import _class_numbers, hyperspherical_energy, sampled_energy
    from csg_analysis.energy.estimates import jackknife_error
    from csg_analysis.energy.blocks import Blocks
    from csg_analysis.energy.positions import Positions
    from csg_analysis.energy.unit_rows import UnitRows

    rows = np.load(sys.argv[1], mmap_mode="r")
    hyperspherical_energy(rows[:1100])  # what the libraries keep
"""
ALL_PAIRS = """
    with watched() as peak:
        count = hyperspherical_energy(rows, labels=np.arange(len(rows)) % 7).n
    print(count, *peak)
"""
BESIDE_PAIRS = """
    labels = np.lib.format.open_memmap(sys.argv[1] + ".labels", "w+", np.int64, (len(rows),))
    with watched() as peak:
        unit = UnitRows(rows)
        positions = Positions(unit, (0.0, 1.0, 2.0), _class_numbers(labels, unit))
        Blocks(positions, None)  # all but .run
        jackknife_error(positions.sums_TN[0], unit.n - 1, positions.sums_TN[-1])
        count = sampled_energy(rows, pairs=unit.n, seed=0).n
    print(count, *peak)
"""

GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
"""Fixes what glibc raises by itself: memory that is free counts as such, and not, by chance, as still in use."""


def rows_and_megabytes(path, code, threads):
    """In a process of its own: what other tests leave in the allocator is not the energy's memory."""
    command = [sys.executable, "-c", textwrap.dedent(BEFORE + code), str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), **GIVEN_BACK}
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, check=True, timeout=120)
    count, megabytes = done.stdout.split()
    return int(count), float(megabytes)


@pytest.mark.parametrize("threads", [2, 16])
def test_memory_beside_the_features_is_bounded(tmp_path, threads):
    """Long rows in clusters that need float64: the most that a block can hold."""
    shape = (2500, 8192)
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, shape)
    for start in range(0, shape[0], 500):
        rows[start : start + 500] = clusters(500, shape[1], 1e-3, 12, seed=start)
    rows.flush()
    count, megabytes = rows_and_megabytes(tmp_path / "rows.npy", ALL_PAIRS, threads)
    assert megabytes < 256
    assert count == shape[0]


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    """A hundred bytes for each of a million rows would be 95 MB; they lie in temporary files, beside 11 MB."""
    rows = clusters(1_000_000, 2, 1e-3, 12)
    rows[-100_000:] = rows[:100_000]
    np.save(tmp_path / "rows.npy", rows)
    count, megabytes = rows_and_megabytes(tmp_path / "rows.npy", BESIDE_PAIRS, 2)
    assert megabytes < 20
    assert count == len(rows)


def measured_by(rank: int, folder: Path) -> None:
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    labels = np.arange(len(rows)) % 4
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    shared = hyperspherical_energy(rows, labels=labels, block_rows=200, distributed=True)
    alone = hyperspherical_energy(rows, labels=labels, block_rows=200)
    dist.destroy_process_group()
    (folder / f"result{rank}.json").write_text(json.dumps([asdict(shared), asdict(alone)]))


def test_two_processes_equal_one(tmp_path):
    rows = clusters(1500, 80, 1e-3, 3)
    rows[700] = rows[20]
    np.save(tmp_path / "rows.npy", rows)
    together(measured_by, (0, tmp_path), (1, tmp_path))
    (shared, alone), (second, _) = (json.loads((tmp_path / f"result{rank}.json").read_text()) for rank in range(2))
    assert shared == second
    assert shared["coincident_pairs"] == alone["coincident_pairs"] == 1
    for convention, s in itertools.product(("paper", "mhe"), ("0.0", "1.0", "2.0")):
        one, two = alone[convention][s], shared[convention][s]
        for field in ("value", "standard_error", "within", "between"):
            assert two[field] == pytest.approx(one[field], rel=1e-12)
