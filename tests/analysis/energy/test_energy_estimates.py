"""Intervals of the energy, its parts within and between classes, and its estimate from sampled pairs."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy, uniform_energy
from csg_train.errors import UserError
from tests.analysis.energy.cases import brute_force, clusters, values


def test_jackknife_is_the_leave_one_out_loop():
    rows = clusters(25, 6, 0.8, 2)
    rows[7] = rows[3]
    energy = hyperspherical_energy(rows)
    for s, estimate in energy.paper.items():
        left_out = np.array([brute_force(np.delete(rows, row, axis=0), s) for row in range(25)])
        error = math.sqrt(24 / 25 * ((left_out - left_out.mean()) ** 2).sum())
        assert estimate.standard_error == pytest.approx(error, rel=1e-9)
        assert estimate.low == pytest.approx(estimate.value - 1.959964 * error, rel=1e-6)
        assert estimate.high == pytest.approx(estimate.value + 1.959964 * error, rel=1e-6)
    assert energy.mhe[0].standard_error == 2 * energy.paper[0].standard_error


@pytest.mark.parametrize("n", [90, 1500])
def test_within_and_between_classes(n):
    rows = clusters(n, 70, 0.3, 4)
    labels = np.random.default_rng(5).integers(6, size=n)
    labels[0] = 17  # a class of its own
    names = [f"class {label}" for label in labels]
    plain = hyperspherical_energy(rows)
    energy = hyperspherical_energy(rows, labels=names)
    counts = np.unique(labels, return_counts=True)[1]
    inside = sum(count * (count - 1) // 2 for count in counts)
    for s, estimate in energy.paper.items():
        assert estimate.within == pytest.approx(brute_force(rows, s, labels, within=True), rel=1e-6)
        assert estimate.between == pytest.approx(brute_force(rows, s, labels, within=False), rel=1e-6)
        together = (inside * estimate.within + (energy.pairs - inside) * estimate.between) / energy.pairs
        assert together == pytest.approx(estimate.value, rel=1e-12)
        assert estimate.value == pytest.approx(plain.paper[s].value, rel=1e-7)
        assert plain.paper[s].within is None
    assert energy.mhe[0].within == 2 * energy.paper[0].within


def lopsided(generator, n):
    return generator.standard_normal((n, 6)) + np.array([1.5, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(("n", "pairs"), [(80, 800), (120, 120), (4000, 150)])
@pytest.mark.parametrize("degenerate", [False, True])
def test_sampled_interval_covers_the_truth_as_often_as_it_says(n, pairs, degenerate):
    """95% of 300 intervals, within four binomial standard errors; uniform points are the degenerate case."""
    generator = np.random.default_rng(11)
    if degenerate:
        truth = [uniform_energy(6, s) for s in (0, 1)]
    else:
        truth = values(hyperspherical_energy(lopsided(generator, 6000), s=(0, 1)))
    hits = np.zeros(2)
    for repeat in range(300):
        rows = generator.standard_normal((n, 6)) if degenerate else lopsided(generator, n)
        energy = sampled_energy(rows, pairs=pairs, seed=repeat, s=(0, 1))
        hits += [e.low <= true <= e.high for e, true in zip(energy.paper.values(), truth, strict=True)]
    assert np.all(np.abs(hits / 300 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 300)), hits


def test_jackknife_interval_covers_the_truth():
    generator = np.random.default_rng(12)
    truth = hyperspherical_energy(lopsided(generator, 6000), s=1).paper[1].value
    hits = 0
    for _ in range(300):
        estimate = hyperspherical_energy(lopsided(generator, 100), s=1).paper[1]
        hits += estimate.low <= truth <= estimate.high
    assert abs(hits / 300 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 300)


def test_sampled_energy_with_all_pairs_is_the_energy():
    rows = clusters(21, 9, 0.7, 2)  # an odd number: the balanced design reaches every pair once
    rows[3] = rows[4]
    energy = sampled_energy(rows, pairs=210, seed=1)
    assert (energy.pairs, energy.coincident_pairs, energy.sampled) == (210, 1, True)
    assert values(energy) == pytest.approx(values(hyperspherical_energy(rows)), rel=1e-12)


def test_sampled_energy_depends_on_its_seed_alone():
    rows = clusters(500, 9, 0.7, 2)
    first, again, other = (sampled_energy(rows, pairs=1300, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first.pairs == 1000


@pytest.mark.parametrize("count", [3, 21])
def test_sampled_error_is_the_jackknife_less_the_variance_of_the_pairs(count):
    """Of all pairs, one of them coincident: z2 / M by NumPy, once below and once above half of the jackknife."""
    rows = clusters(21, 9, 0.3, count, seed=4).astype(np.float64)
    rows[3] = rows[4]
    sampled, whole = sampled_energy(rows, pairs=210, seed=1), hyperspherical_energy(rows)
    distance = pdist(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    distance = distance[distance > 1e-9]
    assert len(distance) == 209
    for s, estimate in sampled.paper.items():
        terms = -np.log(distance) if s == 0 else distance**-s
        spread = terms.var() / 209
        variance = whole.paper[s].standard_error ** 2
        assert estimate.standard_error == pytest.approx(math.sqrt(max(variance - spread, spread)), rel=1e-9)


def test_fewer_pairs_than_rows_are_of_rows_from_everywhere():
    """Rows in the order of their classes, as files are: the first quarter alone would be one class."""
    rows = np.concatenate([clusters(500, 20, 0.5, 1, seed=seed) for seed in range(4)])
    truth = hyperspherical_energy(rows, s=1).paper[1].value
    found = sampled_energy(rows, pairs=500, seed=0, s=1).paper[1]
    assert abs(found.value - truth) < 4 * found.standard_error


def test_every_part_of_order_0_is_doubled_under_mhe():
    rows = clusters(90, 70, 0.3, 4)
    energy = hyperspherical_energy(rows, labels=np.arange(90) % 6)
    paper, mhe = energy.paper[0], energy.mhe[0]
    assert mhe.between == 2 * paper.between
    assert mhe.within == 2 * paper.within
    assert paper.uniform == uniform_energy(70, 0)
    assert mhe.uniform == 2 * paper.uniform
    assert energy.mhe[1].between == energy.paper[1].between


def test_of_an_even_number_of_rows_no_pair_is_visited_twice():
    """Eight rows on a circle: at a distance of four every pair would come from both its ends."""
    rows = np.eye(8)
    rows[5] = rows[2]
    found = {sampled_energy(rows, pairs=24, seed=seed).coincident_pairs for seed in range(60)}
    assert found == {0, 1}
    with pytest.raises(UserError, match="pairs=25 of 8 rows; give 3 to 24"):
        sampled_energy(rows, pairs=25, seed=0)
