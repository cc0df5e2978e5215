"""What a panel of rows holds, and arrays for each row that lie in temporary files."""

import errno
import os

import pytest
import torch

from csg_analysis.energy.blocks import PANEL_BYTES, Blocks
from csg_analysis.energy.positions import Positions
from csg_analysis.energy.scratch import row_array, stable_order
from csg_analysis.energy.unit_rows import UnitRows
from csg_train.errors import UserError
from tests.analysis.energy.cases import clusters


@pytest.mark.parametrize(("d", "count"), [(8, 40), (64, 40), (8, 1)])
def test_panel_counts_the_offsets_to_every_centre(d, count):
    """At d = 8 a row's offsets are five times its residuals; a million rows would take 0.4 GB if they did not count."""
    blocks = Blocks(Positions(UnitRows(clusters(3000, d, 1e-5, count)), (0.0,)), None)
    side = blocks.load(next(blocks.pieces()))
    row_bytes = side.residual.element_size() * d + side.offset.element_size() * side.offset.shape[1]
    assert side.offset.shape[1] > count // 2
    assert blocks.panel * row_bytes <= PANEL_BYTES < (blocks.panel + 1) * row_bytes


@pytest.mark.parametrize(("threads", "megabytes"), [(1, 1), (2, 1), (8, 1), (16, 0.5)])
def test_threads_share_what_chunks_of_rows_may_hold(monkeypatch, threads, megabytes):
    """An allocator keeps what each thread frees: with 2 MB a chunk, sixteen held 250 to 340 MB in all."""
    monkeypatch.setattr("csg_analysis.energy.unit_rows.thread_count", lambda _device: threads)
    rows = UnitRows(torch.ones(700, 2048))
    chunks = list(rows.chunks(0, 700))
    assert [row for start, stop in chunks for row in range(start, stop)] == list(range(700))
    assert max(stop - start for start, stop in chunks) * 2048 * 8 == megabytes * 2**20


def test_stable_order_of_a_long_array_equals_torchs():
    key_N = torch.randint(-500, 500, (300_000,), generator=torch.Generator().manual_seed(0)).double() / 7
    assert torch.equal(stable_order(key_N), key_N.argsort(stable=True))
    assert torch.equal(
        stable_order(torch.tensor([0.0, -0.0, -1.0, 0.0], dtype=torch.float64)), torch.tensor([2, 0, 1, 3])
    )


def test_a_long_array_where_no_space_can_be_set_aside(monkeypatch, tmp_path):
    """macOS and Windows: zeros are written."""
    monkeypatch.delattr("os.posix_fallocate")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long_N = row_array((2**17 + 5,), torch.float64, torch.device("cpu"))
    assert long_N.shape == (2**17 + 5,)
    assert not long_N.any()
    long_N[-1] = 1
    assert long_N.sum() == 1


def test_a_full_disk_of_temporary_files_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not row_array((2**20,), torch.float64, torch.device("cpu")).any()
    assert not list(tmp_path.iterdir())

    def full(_handle, _start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(
        UserError, match=rf"{tmp_path}: cannot keep 8388608 bytes \(No space left on device\); set TMPDIR"
    ):
        row_array((2**20,), torch.float64, torch.device("cpu"))
