"""The energy in processes of its own: the memory that it takes, and the sum over two processes."""

import itertools
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.energy_cases import clusters

MEMORY = """
    import sys, threading
    from pathlib import Path
    import numpy as np
    from csg_analysis.energy import hyperspherical_energy

    rows = np.load(sys.argv[1], mmap_mode="r")

    def anonymous():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

    hyperspherical_energy(rows[:1100])  # what the libraries keep
    before, peak, stop = anonymous(), [0.0], threading.Event()

    def watch():
        while not stop.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    energy = hyperspherical_energy(rows, labels=np.arange(len(rows)) % 7)
    stop.set()
    watcher.join()
    print(energy.n, peak[0] - before)
"""


def test_memory_beside_the_features_is_bounded(tmp_path):
    """In a process of its own: what other tests leave in the allocator is not the energy's memory."""
    shape = (5000, 8192)
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, shape)
    for start in range(0, shape[0], 500):
        rows[start : start + 500] = clusters(500, shape[1], 1e-3, 12, seed=start)
    rows.flush()
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path / "rows.npy")]
    root = Path(__file__).parents[2]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=120).stdout
    count, megabytes = output.split()
    assert float(megabytes) < 256
    assert int(count) == shape[0]


WORKER = """
    import json, sys
    import numpy as np
    import torch.distributed as dist
    from csg_analysis.energy import hyperspherical_energy

    rank, folder = int(sys.argv[1]), sys.argv[2]
    rows = np.load(f"{folder}/rows.npy", mmap_mode="r")
    labels = np.arange(len(rows)) % 4
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    shared = hyperspherical_energy(rows, labels=labels, block_rows=200, distributed=True)
    alone = hyperspherical_energy(rows, labels=labels, block_rows=200)
    dist.destroy_process_group()
    with open(f"{folder}/result{rank}.json", "w") as stream:
        json.dump([shared.record(), alone.record()], stream)
"""


def test_two_processes_equal_one(tmp_path):
    rows = clusters(1500, 80, 1e-3, 3)
    rows[700] = rows[20]
    np.save(tmp_path / "rows.npy", rows)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(WORKER)]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=root) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    (shared, alone), (second, _) = (json.loads((tmp_path / f"result{rank}.json").read_text()) for rank in range(2))
    assert shared == second
    assert shared["coincident_pairs"] == alone["coincident_pairs"] == 1
    for convention, s in itertools.product(("paper", "mhe"), "012"):
        one, two = alone[convention][s], shared[convention][s]
        for field in ("value", "standard_error", "within", "between"):
            assert two[field] == pytest.approx(one[field], rel=1e-12)
