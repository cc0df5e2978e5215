"""Hyperspherical energy against closed forms, float64 brute force and its own definitions."""

import dataclasses
import itertools
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from csg_analysis.energy import hyperspherical_energy, sampled_energy, simplex_energy, uniform_energy
from csg_train.errors import UserError

TABLE_1 = [  # the paper's E_0, E_1, E_2: baseline, weight l2, SI, feature l2, ASG, CSG
    (0.4245, 1.2500, 1.6028),
    (0.4014, 1.2296, 1.5302),
    (0.3958, 1.2261, 1.5216),
    (0.3337, 1.1910, 1.4449),
    (0.3251, 1.1840, 1.4229),
    (0.3188, 1.1806, 1.4177),
]


def clusters(n, d, spread, count, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((count, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = centres[generator.integers(count, size=n)] + spread * generator.standard_normal((n, d)) / math.sqrt(d)
    return rows.astype(np.float32)


def brute_force(features, s, labels=None, within=None):
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distance = pdist(unit)
    keep = distance >= 1e-12
    if within is not None:
        first, second = np.triu_indices(len(unit), 1)
        keep &= (labels[first] == labels[second]) == within
    distance = distance[keep]
    return float(np.mean(-np.log(distance) if s == 0 else distance**-s))


def values(energy):
    return [estimate.value for estimate in energy.paper.values()]


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


# Intervals and parts


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


def test_record_is_json(tmp_path):
    record = hyperspherical_energy(np.array([[1.0, 0], [2, 0], [0, 1]]), s=(0, 0.5), coincident="infinite").record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["mhe"]["0"]["value"] == "infinite"
    assert record["paper"]["0.5"]["standard_error"] is None
    assert record["paper"]["0.5"]["convention"] == "paper"
    assert record["coincident_pairs"] == 1


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
        (np.eye(3), {"s": -1}, "finite numbers >= 0"),
        (np.eye(3), {"s": ()}, "finite numbers >= 0"),
        (np.eye(3), {"s": (0, math.inf)}, "finite numbers >= 0"),
        (np.eye(3), {"coincident": "clamp"}, 'choose "exclude" or "infinite"'),
        (np.eye(3), {"labels": [1, 2]}, "labels of shape \\(2,\\)"),
        (np.eye(3), {"block_rows": 0}, "block_rows=0"),
        (np.eye(3), {"distributed": True}, "init_process_group"),
    ],
)
def test_mistakes_are_user_errors(rows, options, message):
    with pytest.raises(UserError, match=message):
        hyperspherical_energy(rows, **options)


@pytest.mark.parametrize("pairs", [2, 10**6])
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


# Two processes

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
