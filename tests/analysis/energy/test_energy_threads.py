"""Threads of one core each."""

import time

import pytest
import torch

from csg_analysis.energy import threads
from csg_analysis.energy.blocks import Blocks
from csg_analysis.energy.energy import hyperspherical_energy
from csg_train.errors import UserError
from tests.analysis.energy.cases import clusters


@pytest.fixture
def many():
    before = torch.get_num_threads()
    torch.set_num_threads(16)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_order_and_few_are_made_ahead(count):
    made = []

    def act(item):
        time.sleep(0.002 * (item % 3))
        made.append(item)
        return item * item

    found = []
    for index, result in enumerate(threads.in_order(act, range(40), count)):
        found.append(result)
        assert len(made) <= index + 1 + 2 * count
    assert found == [item * item for item in range(40)]


def test_the_library_never_has_more_than_one_core_beside_ours(many, monkeypatch):
    """Whatever is handed to our threads, and the setting is as before at the end, of an error too."""
    seen, in_order = set(), threads.in_order

    def watched(act, items, count):
        assert count == 16
        return in_order(lambda item: (seen.add(torch.get_num_threads()), act(item))[1], items, count)

    monkeypatch.setattr("csg_analysis.energy.unit_rows.in_order", watched)
    original = Blocks.block_sums
    monkeypatch.setattr(Blocks, "block_sums", lambda *given: (seen.add(torch.get_num_threads()), original(*given))[1])
    rows = clusters(1100, 72, 1e-2, 5)
    hyperspherical_energy(rows)
    assert seen == {1}
    assert torch.get_num_threads() == 16
    rows[700] = 0
    with pytest.raises(UserError, match="feature row 700 is zero"):
        hyperspherical_energy(rows)
    assert torch.get_num_threads() == 16


def test_energies_do_not_depend_on_the_number_of_threads(many):
    rows = clusters(1500, 80, 1e-3, 3)
    sixteen = hyperspherical_energy(rows, labels=[row % 4 for row in range(1500)])
    torch.set_num_threads(1)
    one = hyperspherical_energy(rows, labels=[row % 4 for row in range(1500)])
    for s, estimate in one.paper.items():
        for field in ("value", "standard_error", "within", "between"):
            assert getattr(sixteen.paper[s], field) == pytest.approx(getattr(estimate, field), rel=1e-7)
