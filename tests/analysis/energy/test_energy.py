"""Hyperspherical energy against closed forms, float64 brute force and its own definitions."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy, simplex_energy, uniform_energy
from csg_train.errors import UserError
from tests.analysis.energy.cases import brute_force, clusters, values

TABLE_1 = [  # the paper's E_0, E_1, E_2: baseline, weight l2, SI, feature l2, ASG, CSG
    (0.4245, 1.2500, 1.6028),
    (0.4014, 1.2296, 1.5302),
    (0.3958, 1.2261, 1.5216),
    (0.3337, 1.1910, 1.4449),
    (0.3251, 1.1840, 1.4229),
    (0.3188, 1.1806, 1.4177),
]


@pytest.fixture(autouse=True, params=["blocks", "tiles"])
def way(request, monkeypatch):
    """The processor's pass over pairs and that of a GPU, which runs here as well."""
    if request.param == "tiles":
        monkeypatch.setattr("csg_analysis.energy.pairs._TILED", "cpu")
    return request.param


# Closed forms


def test_antipodal_pair():
    energy = hyperspherical_energy(np.array([[0.0, 3.0], [0.0, -0.5]]))
    assert values(energy) == pytest.approx([-math.log(2), 1 / 2, 1 / 4], rel=1e-15)
    assert energy.mhe[0].value == pytest.approx(-2 * math.log(2), rel=1e-15)
    assert energy.mhe[1].value == energy.paper[1].value
    assert (energy.n, energy.d, energy.pairs, energy.coincident_pairs) == (2, 2, 1, 0)
    assert math.isnan(energy.paper[0].standard_error)


@pytest.mark.parametrize("d", [2, 5, 40])
def test_simplex(d):
    corners = np.eye(d + 1) - 1 / (d + 1)  # lies in a d-dimensional subspace
    energy = hyperspherical_energy(corners, s=(0, 0.5, 1, 2, 7))
    for s, estimate in energy.paper.items():
        assert estimate.value == pytest.approx(simplex_energy(d + 1, d, s), rel=1e-14)
        assert estimate.simplex == pytest.approx(estimate.value, rel=1e-14)
        assert estimate.standard_error == pytest.approx(0, abs=1e-14)
        assert energy.mhe[s].simplex == pytest.approx(energy.mhe[s].value, rel=1e-14)
    assert simplex_energy(d + 2, d, 1) is None


@pytest.mark.parametrize("d", [2, 9])
def test_cross_polytope(d):
    energy = hyperspherical_energy(np.concatenate([np.eye(d), -np.eye(d)]), s=(0, 1, 2, 3.5))
    opposite, pairs = d, d * (2 * d - 1)
    for s, estimate in energy.paper.items():
        far, near = (-math.log(2), -math.log(2) / 2) if s == 0 else (2.0**-s, 2.0 ** (-s / 2))
        assert estimate.value == pytest.approx((opposite * far + (pairs - opposite) * near) / pairs, rel=1e-14)


@pytest.mark.parametrize(  # below s = (d - 1) / 2 the variance of d^-s is finite
    ("d", "s"), [(2, 0), (2, 0.25), (3, 0), (3, 0.5), (5, 0), (5, 0.5), (5, 1), (64, 0), (64, 1), (64, 2)]
)
def test_uniform_closed_form_is_the_monte_carlo_mean(d, s):
    generator = np.random.default_rng(7)
    cosine = generator.standard_normal((200_000, d))
    cosine = cosine[:, 0] / np.linalg.norm(cosine, axis=1)
    squared = 2 - 2 * cosine
    terms = -np.log(squared) / 2 if s == 0 else squared ** (-s / 2)
    assert uniform_energy(d, s) == pytest.approx(terms.mean(), abs=5 * terms.std() / math.sqrt(len(terms)))


def test_uniform_closed_form_where_it_is_known():
    assert uniform_energy(2, 0) == pytest.approx(0, abs=1e-15)
    assert uniform_energy(3, 0) == pytest.approx(0.5 - math.log(2), rel=1e-14)
    assert uniform_energy(3, 1) == pytest.approx(1, rel=1e-14)
    assert uniform_energy(3, 2) == math.inf
    assert uniform_energy(1, 0) == math.inf
    assert uniform_energy(5, 0, convention="mhe") == 2 * uniform_energy(5, 0)
    assert uniform_energy(10**6, 2) == pytest.approx(0.5, rel=1e-5)


def test_table_1_obeys_jensen_only_under_mhe():
    """E[1/d] >= exp(E[ln 1/d]) for any features; Table 1's E_0 breaks it unless it is the doubled one."""
    for e_0, e_1, e_2 in TABLE_1:
        assert e_2 >= e_1**2
        assert e_1 < math.exp(e_0)  # read as "paper": impossible
        assert e_1 >= math.exp(e_0 / 2)  # read as "mhe"
    rows = clusters(300, 32, 0.5, 3)
    energy = hyperspherical_energy(np.abs(rows))
    assert energy.paper[1].value >= math.exp(energy.paper[0].value)
    assert energy.mhe[1].value >= math.exp(energy.mhe[0].value / 2)


# Accuracy


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("spread", [1, 0.1, 0.01, 1e-3, 1e-4])
def test_float32_products_are_exact_to_1e_6(count, spread):
    plain = clusters(1100, 72, spread, count)
    copied = plain.copy()
    copied[500:530] = copied[:30]
    for rows, coincident in ((plain, 0), (copied, 30)):
        energy = hyperspherical_energy(rows, s=(0, 1, 2, 0.5, 6))
        assert energy.coincident_pairs == coincident
        for s, estimate in energy.paper.items():
            exact = brute_force(rows, s)
            assert estimate.value == pytest.approx(exact, rel=1e-6, abs=2e-9), s  # abs: E_0 passes through zero


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("spread", [1, 0.01, 1e-4])
def test_float64_products_are_exact_to_1e_9(count, spread):
    rows = clusters(500, 24, spread, count)
    for s, estimate in hyperspherical_energy(rows).paper.items():
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-9)


def test_more_tight_clusters_than_centres():
    rows = clusters(1500, 80, 1e-3, 300)
    for s, estimate in hyperspherical_energy(rows).paper.items():
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-6)


def test_clusters_of_clusters_with_outliers():
    rows = np.concatenate([clusters(600, 80, 1e-4, 3), clusters(600, 80, 1e-2, 5, seed=1), clusters(40, 80, 1, 40)])
    rows[1200] = -5 * rows[0]
    for s, estimate in hyperspherical_energy(rows).paper.items():
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-6)


def test_no_precision_setting_of_the_caller_matters():
    rows = torch.from_numpy(clusters(1100, 72, 0.5, 2))
    plain = hyperspherical_energy(rows)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert hyperspherical_energy(rows.requires_grad_()) == plain
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


# Invariances


@pytest.mark.parametrize(("n", "d", "bound"), [(1200, 72, 1e-7), (300, 20, 1e-11)])
def test_invariant_to_order_rotation_scale_and_blocks(n, d, bound):
    rows = clusters(n, d, 0.01, 4).astype(np.float64)
    labels = np.arange(n) % 3
    generator = np.random.default_rng(3)
    order, rotation = generator.permutation(n), np.linalg.qr(generator.standard_normal((d, d)))[0]
    whole = hyperspherical_energy(rows, labels=labels)
    changed = [
        hyperspherical_energy(rows[order], labels=labels[order]),
        hyperspherical_energy(rows @ rotation, labels=labels),
        hyperspherical_energy(rows * np.exp(generator.standard_normal((n, 1)) * 3), labels=labels),
        *(hyperspherical_energy(rows, labels=labels, block_rows=size) for size in (97, 256, 10_000)),
    ]
    for other, s in itertools.product(changed, (0, 1, 2)):
        for field in ("value", "within", "between", "standard_error"):
            one, two = getattr(whole.paper[s], field), getattr(other.paper[s], field)
            assert two == pytest.approx(one, rel=bound), (field, s)


def test_memory_map_half_precision_and_tensors(tmp_path):
    rows = clusters(1100, 72, 0.1, 5)
    energy = hyperspherical_energy(rows)
    np.save(tmp_path / "rows.npy", rows)
    assert hyperspherical_energy(np.load(tmp_path / "rows.npy", mmap_mode="r")) == energy
    assert hyperspherical_energy(torch.from_numpy(rows)) == energy
    assert hyperspherical_energy(rows.astype(">f4")) == energy
    assert hyperspherical_energy(np.ascontiguousarray(rows[::-1])[::-1]) == energy
    half = rows.astype(np.float16)
    assert values(hyperspherical_energy(half)) == values(hyperspherical_energy(half.astype(np.float64)))
    bfloat = torch.from_numpy(rows).bfloat16()
    assert values(hyperspherical_energy(bfloat)) == values(hyperspherical_energy(bfloat.double()))


# Coincident pairs


def test_copies_and_scaled_copies_are_counted_and_excluded():
    rows = clusters(400, 30, 1, 1).astype(np.float64)
    rows[100:110] = rows[:10]  # copies
    rows[200:210] = 3 * rows[:10]  # normalise to within one rounding
    rows[300:305] = rows[:5] / 7e5
    energy = hyperspherical_energy(rows)
    assert energy.coincident_pairs == 5 * 6 + 5 * 3
    assert energy.coincident == "exclude"
    assert values(energy) == pytest.approx([brute_force(rows, s) for s in (0, 1, 2)], rel=1e-12)
    infinite = hyperspherical_energy(rows, coincident="infinite", labels=np.arange(400) // 100)
    assert infinite.coincident_pairs == energy.coincident_pairs
    assert values(infinite) == [math.inf] * 3
    assert all(math.isnan(estimate.standard_error) for estimate in infinite.paper.values())
    assert all(math.isfinite(estimate.within) for estimate in infinite.paper.values())  # all copies are between
    assert infinite.paper[1].between == math.inf


def test_rows_just_beyond_the_threshold_are_two_points():
    rows = np.eye(4)[[0, 0, 1, 2]]
    rows[1, 3] = 3e-12
    energy = hyperspherical_energy(rows, s=1)
    assert energy.coincident_pairs == 0
    assert energy.paper[1].value == pytest.approx((1 / 3e-12 + 5 / math.sqrt(2)) / 6, rel=1e-9)
    rows[1, 3] = 0.3e-12
    assert hyperspherical_energy(rows, s=1).coincident_pairs == 1


def test_many_copies_are_cheap_and_exact():
    rows = np.repeat(clusters(40, 70, 1, 1), 50, axis=0)
    energy = hyperspherical_energy(rows, labels=np.arange(2000) // 50)
    assert energy.coincident_pairs == 40 * 50 * 49 // 2
    assert values(energy) == pytest.approx(values(hyperspherical_energy(rows[::50])), rel=1e-6)
    assert energy.paper[1].within is None
    assert energy.paper[1].between == pytest.approx(energy.paper[1].value, rel=1e-12)


def test_all_rows_at_one_point():
    rows = np.outer(np.arange(1, 6), np.ones(3))
    with pytest.raises(UserError, match="all 10 pairs coincide"):
        hyperspherical_energy(rows)
    energy = hyperspherical_energy(rows, coincident="infinite")
    assert values(energy) == [math.inf] * 3
    with pytest.raises(UserError, match="all 5 pairs coincide"):
        sampled_energy(rows, pairs=5, seed=0)
    assert values(sampled_energy(rows, pairs=5, seed=0, coincident="infinite")) == [math.inf] * 3


# Errors


@pytest.mark.parametrize("source", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (0.0, "row 5 is zero"),
        (math.nan, "row 5 has a NaN or infinite value"),
        (-math.inf, "row 5 has a NaN or infinite value"),
    ],
)
def test_bad_rows_are_named(source, bad, message):
    rows = np.ones((9, 3))
    rows[5] = bad
    with pytest.raises(UserError, match=message):
        hyperspherical_energy(source(rows))


def test_a_row_of_huge_or_tiny_numbers_is_only_a_direction():
    energy = hyperspherical_energy(np.array([[1e200, 1e200], [1e-200, -1e-200]]), s=1)
    assert energy.paper[1].value == pytest.approx(1 / math.sqrt(2), rel=1e-15)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (np.ones((1, 3)), {}, "1 feature rows"),
        (np.ones(3), {}, "shape \\(3,\\)"),
        (np.ones((4, 0)), {}, "shape \\(4, 0\\)"),
        (np.ones((4, 3), dtype=int), {}, "type int64"),
        ([[1.0, 2.0]], {}, "type list"),
        (np.ma.masked_array(np.eye(3)), {}, "in a masked array; give the rows that count"),
        (torch.eye(3).to_sparse(), {}, "of layout torch.sparse_coo; give a dense tensor"),
        (torch.eye(3, device="meta"), {}, "on the meta device, which holds no numbers"),
        (np.eye(3), {"device": "cudax"}, "--device cudax: not usable here"),
        (np.eye(3), {"s": None}, "finite numbers >= 0"),
        (np.eye(3), {"s": "a"}, "s='a'; give one or more finite numbers >= 0"),
        (np.eye(3), {"s": "12"}, "s='12'; give one or more finite numbers >= 0"),
        (np.eye(3), {"s": -1}, "finite numbers >= 0"),
        (np.eye(3), {"s": ()}, "finite numbers >= 0"),
        (np.eye(3), {"s": (0, math.inf)}, "finite numbers >= 0"),
        (np.eye(3), {"coincident": "clamp"}, 'choose "exclude" or "infinite"'),
        (np.eye(3), {"labels": [1, 2]}, "labels of shape \\(2,\\)"),
        (np.eye(3), {"labels": [1, 2, math.nan]}, "feature row 2 has no label; leave out"),
        (np.eye(3), {"labels": np.array(["a", None, "b"], dtype=object)}, "feature row 1 has no label; leave out"),
        (np.eye(3), {"labels": torch.tensor([math.nan, 1, 2])}, "feature row 0 has no label; leave out"),
        (np.eye(3), {"labels": np.array([1, "a", 2], dtype=object)}, "labels are of several kinds"),
        (np.eye(3), {"labels": [[1], [1, 2], [3]]}, "labels are no array"),
        (np.eye(3), {"labels": torch.ones(3, dtype=torch.bfloat16)}, "labels are no array"),
        (np.eye(3), {"block_rows": 0}, "block_rows=0"),
        (np.eye(3), {"block_rows": 64.0}, "block_rows=64.0; give a whole number"),
        (np.eye(3), {"distributed": True}, "init_process_group"),
    ],
)
def test_mistakes_are_user_errors(rows, options, message):
    with pytest.raises(UserError, match=message):
        hyperspherical_energy(rows, **options)


@pytest.mark.parametrize("s", [np.int64(1), np.float32(1), [1], np.array([1])])
def test_orders_of_numpy_are_numbers(s):
    rows = np.random.default_rng(0).normal(size=(9, 3))
    assert hyperspherical_energy(rows, s=s).paper == hyperspherical_energy(rows, s=1).paper


def test_a_number_of_pairs_may_be_written_with_an_exponent():
    rows = np.random.default_rng(0).normal(size=(99, 3))
    assert sampled_energy(rows, pairs=1e3, seed=0) == sampled_energy(rows, pairs=1000, seed=0)


def test_a_seed_of_numpy_is_that_number():
    """It gave other pairs: seeds of np.arange(8) were not those of range(8)."""
    rows = np.random.default_rng(0).normal(size=(99, 3))
    assert sampled_energy(rows, pairs=200, seed=np.int64(3)) == sampled_energy(rows, pairs=200, seed=3)
    with pytest.raises(UserError, match=r"seed 0\.5: give a whole number"):
        sampled_energy(rows, pairs=200, seed=0.5)


@pytest.mark.parametrize("pairs", [2, 10**6, 10.5])
def test_sampled_pairs_out_of_range(pairs):
    with pytest.raises(UserError, match="pairs="):
        sampled_energy(np.eye(9), pairs=pairs, seed=0)


def test_closed_forms_reject_what_they_do_not_know():
    for call in (
        lambda: uniform_energy(0, 1),
        lambda: uniform_energy(3, -1),
        lambda: uniform_energy(3, 1, convention="other"),
        lambda: simplex_energy(1, 3, 0),
    ):
        with pytest.raises(UserError):
            call()


def test_the_result_cannot_be_changed():
    energy = hyperspherical_energy(np.eye(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        energy.n = 4


def test_a_high_order_of_near_pairs_leaves_the_range_of_float32_and_is_right():
    """Residuals of 1e-4 and s = 12: single terms reach 1e48."""
    rows = clusters(1200, 72, 1e-4, 12)
    found = hyperspherical_energy(rows, s=12).paper[12].value
    assert found == pytest.approx(brute_force(rows, 12), rel=1e-5)


def test_what_a_strip_computes_again_comes_in_parts(monkeypatch):
    """A tight cluster that no centre leads; 50 rows of a strip at a time."""
    monkeypatch.setattr("csg_analysis.energy.blocks._EXACT_BYTES", 2 * 8 * 80 * 50)
    rows = clusters(1500, 80, 1.0, 1)
    tight = np.setdiff1d(np.arange(1500), np.arange(1024) * 1500 // 1024)[:40]
    rows[tight] = rows[0] + 1e-4 * rows[200 + tight]
    for s, estimate in hyperspherical_energy(rows).paper.items():
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-6, abs=2e-9)


@pytest.mark.parametrize(("apart", "coincident"), [(0.9e-12, 1), (1.1e-12, 0)])
def test_the_threshold_of_one_point_is_that_of_the_record(apart, coincident):
    rows = np.eye(4)[[0, 0, 1, 2]]
    rows[1, 3] = apart
    assert hyperspherical_energy(rows, s=1).coincident_pairs == coincident


def test_two_heaps_of_copies_nearly_a_threshold_apart_are_one_point():
    """Their centre lies between them: residuals are half as long as the distance."""
    rows = np.concatenate([clusters(40, 20, 1, 1).astype(np.float64), np.eye(20)[[0] * 20]])
    rows[40:, 1] = 0.45e-12 * np.repeat([1, -1], 10)
    assert hyperspherical_energy(rows).coincident_pairs == 20 * 19 // 2


def test_near_pairs_are_found_beside_a_row_that_is_the_centre():
    """Rows at 0.01 around an axis and their opposites, the axis, and one pair 3e-5 apart."""
    around = np.random.default_rng(0).standard_normal((600, 72))
    around[:, 0] = 0
    around *= 0.01 / np.linalg.norm(around, axis=1, keepdims=True)
    rows = np.concatenate([np.zeros((1, 72)), around, -around])
    rows[:, 0] = 1
    rows[2] = rows[1] + 3e-5 * np.eye(72)[1]
    for s, estimate in hyperspherical_energy(rows).paper.items():
        assert estimate.value == pytest.approx(brute_force(rows, s), rel=1e-6)


@pytest.mark.parametrize(("bad", "told"), [(0.0, "is zero"), (math.nan, "has a NaN"), (1.7e308, "is too long")])
def test_a_bad_row_of_a_later_chunk_has_its_own_number(bad, told):
    rows = np.ones((5000, 64))
    rows[4500] = bad
    with pytest.raises(UserError, match=f"feature row 4500 {told}"):
        hyperspherical_energy(rows)
