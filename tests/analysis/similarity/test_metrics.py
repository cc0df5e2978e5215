"""Metrics: the facts of the table as properties, closed forms, and direct float64 loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import entropy

from csg_analysis.similarity.metrics.alignment import alignment
from csg_analysis.similarity.metrics.cka import linear_cka
from csg_analysis.similarity.metrics.effective_rank import effective_rank
from csg_analysis.similarity.metrics.spread import class_spread, mean_spread
from csg_analysis.similarity.metrics.table import METRICS
from csg_analysis.similarity.metrics.uniformity import uniformity
from csg_train.errors import UserError


def inputs_of(seed: int, n: int = 14, d: int = 5) -> dict[str, np.ndarray]:
    """Rows off the origin, rows of another model that are related to them, and three classes."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((n, d)) + 2 * generator.standard_normal(d)
    others = np.tanh(features @ generator.standard_normal((d, 7))) + generator.standard_normal((n, 7))
    return {"features": features, "others": others, "labels": np.arange(n) % 3}


def _features(change):
    return lambda inputs, generator: inputs | {"features": change(inputs["features"], generator)}


def _rotated(rows, generator):
    return rows @ np.linalg.qr(generator.standard_normal((rows.shape[1], rows.shape[1])))[0]


def _permuted(inputs, generator):
    order = generator.permutation(len(inputs["labels"]))
    return {name: value[order] for name, value in inputs.items()}


CHANGES = {
    "rotation": _features(_rotated),
    "scale": _features(lambda rows, generator: rows * math.exp(3 * generator.standard_normal())),
    "row scale": _features(lambda rows, generator: rows * np.exp(generator.standard_normal((len(rows), 1)))),
    "translation": _features(lambda rows, generator: rows + generator.standard_normal(rows.shape[1])),
    "permutation": _permuted,
    "duplication": lambda inputs, generator: {name: np.concatenate([v, v]) for name, v in inputs.items()},
}


@pytest.mark.parametrize("name", METRICS)
@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 2**32), n=st.integers(4, 30), d=st.integers(2, 9))
def test_declared_facts_hold(name, seed, n, d):
    """Bounds and invariances, for any rows."""
    metric, inputs = METRICS[name], inputs_of(seed, n, d)
    value = metric.of(**inputs)
    assert metric.low <= value <= metric.high
    generator = np.random.default_rng(seed + 1)
    for change in metric.invariant_to:
        assert metric.of(**CHANGES[change](inputs, generator)) == pytest.approx(value, rel=1e-9, abs=1e-10), change


@pytest.mark.parametrize("name", METRICS)
def test_every_other_change_moves_the_number(name):
    """So that a fact left out is as false as one too many."""
    metric, inputs = METRICS[name], inputs_of(3)
    for change in CHANGES.keys() - metric.invariant_to:
        moved = metric.of(**CHANGES[change](inputs, np.random.default_rng(0)))
        assert abs(moved - metric.of(**inputs)) > 1e-4, change


@pytest.mark.parametrize("name", METRICS)
def test_the_ends_that_are_declared_are_reached(name):
    """Both bounds are tight, not only true (the effective rank has no upper one)."""
    one_point = np.ones((4, 3)) * np.arange(1, 5)[:, None]
    opposite = np.array([[1.0, 0, 0], [-2, 0, 0]])
    line = np.array([[1.0, 1], [1, 2], [1, 3], [1, 0]])
    labels = np.zeros(4, dtype=int)
    ends = {
        "cka": [
            linear_cka(line, 3 * line + 1),
            linear_cka(np.array([[1.0], [-1], [0], [0]]), np.eye(4)[:, 2:] @ [[1.0], [-1]]),
        ],
        "alignment": [alignment(one_point, labels), alignment(opposite, labels[:2])],
        "uniformity": [uniformity(one_point), uniformity(opposite)],
        "effective rank": [effective_rank(np.array([[1.0, 0], [0, 1], [1, 0]])), math.inf],
        "spread": [mean_spread(one_point, labels), mean_spread(opposite, labels[:2])],
    }
    assert sorted(ends[name]) == pytest.approx([METRICS[name].low, METRICS[name].high], abs=1e-12)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_cka_is_hsic_of_the_linear_kernels():
    """tr(KHLH) / sqrt(tr(KHKH) tr(LHLH)), written out with N x N matrices."""
    for seed, (n, d) in enumerate([(20, 4), (9, 30), (40, 40)]):
        inputs = inputs_of(seed, n, d)
        h = np.eye(n) - 1 / n
        k, m = (rows @ rows.T for rows in (inputs["features"], inputs["others"]))
        cross, own, other = (np.trace(a @ h @ b @ h) for a, b in ((k, m), (k, k), (m, m)))
        expected = cross / math.sqrt(own * other)
        assert linear_cka(inputs["features"], inputs["others"]) == pytest.approx(expected, rel=1e-12)


def test_cka_of_single_features_is_the_squared_correlation():
    x, y = np.random.default_rng(0).standard_normal((2, 50))
    y += x
    assert linear_cka(x[:, None], y[:, None]) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, rel=1e-12)


def test_cka_of_a_projection_by_hand():
    """X = 2 orthogonal unit columns, Y the first of them: |Y'X|^2 = 1, |X'X| = sqrt 2, |Y'Y| = 1."""
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) / 2
    assert linear_cka(x, x[:, :1]) == pytest.approx(1 / math.sqrt(2), rel=1e-15)


def test_alignment_and_spread_are_their_loops():
    inputs = inputs_of(5, 23, 6)
    rows, labels = unit(inputs["features"]), inputs["labels"]
    pairs = [(i, j) for i, j in itertools.combinations(range(23), 2) if labels[i] == labels[j]]
    expected = np.mean([np.sum((rows[i] - rows[j]) ** 2) for i, j in pairs])
    assert alignment(inputs["features"], labels) == pytest.approx(expected, rel=1e-12)
    for label, value in enumerate(class_spread(inputs["features"], labels)):
        own = rows[labels == label]
        middle = own.mean(0) / np.linalg.norm(own.mean(0))
        assert value == pytest.approx(np.mean([np.sum((row - middle) ** 2) for row in own]), rel=1e-12)
        assert value == pytest.approx(2 - 2 * np.linalg.norm(own.mean(0)), rel=1e-12)


def test_right_angles_in_a_class():
    """k orthogonal directions: all distances are sqrt 2, the mean is 1 / sqrt k long, all p of the k - 1 are equal."""
    for k in (2, 3, 8):
        labels = np.zeros(k, dtype=int)
        assert alignment(np.eye(k), labels) == pytest.approx(2, rel=1e-14)
        assert uniformity(np.eye(k)) == pytest.approx(-4, rel=1e-14)
        assert mean_spread(np.eye(k), labels) == pytest.approx(2 - 2 / math.sqrt(k), rel=1e-14)
        assert effective_rank(np.eye(k)) == pytest.approx(k - 1, rel=1e-12)


def test_a_class_of_one_has_no_pairs_and_no_spread():
    rows = np.array([[1.0, 0], [0, 1], [3, 4]])
    assert alignment(rows, np.array([0, 0, 1])) == pytest.approx(2, rel=1e-14)
    assert class_spread(rows, np.array([0, 0, 1]))[1] == pytest.approx(0, abs=1e-30)
    with pytest.raises(UserError, match="no class has two"):
        alignment(rows, np.arange(3))


@pytest.mark.parametrize("n", [40, 1300])  # within one block, and over several
def test_uniformity_is_the_loop_without_its_diagonal(n):
    rows = inputs_of(1, n, 4)["features"]
    expected = math.log(np.exp(-2 * pdist(unit(rows), "sqeuclidean")).mean())
    assert uniformity(rows) == pytest.approx(expected, rel=1e-12)
    with_diagonal = math.log(np.exp(-2 * squareform(pdist(unit(rows), "sqeuclidean"))).mean())
    assert uniformity(rows) < with_diagonal


def test_effective_rank_is_scipys_entropy_and_is_centred():
    rows = unit(inputs_of(2, 30, 6)["features"])
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    assert effective_rank(rows) == pytest.approx(math.exp(entropy(values)), rel=1e-12)
    assert effective_rank(rows) > 1.2 * math.exp(entropy(np.linalg.svd(rows, compute_uv=False)))  # a far mean


@pytest.mark.parametrize("name", METRICS)
def test_bad_rows_are_named(name):
    for bad in (math.nan, math.inf):
        inputs = inputs_of(0)
        inputs["features"][6, 2] = bad
        with pytest.raises(UserError, match="row 6 "):
            METRICS[name].of(**inputs)


def test_collapsed_features_are_said():
    same = np.ones((5, 3))
    with pytest.raises(UserError, match="collapsed"):
        effective_rank(same)
    with pytest.raises(UserError, match="collapsed"):
        linear_cka(np.random.default_rng(0).standard_normal((5, 2)), same)
    with pytest.raises(UserError, match="5 and 4 rows"):
        linear_cka(same, same[:4])
    with pytest.raises(UserError, match="labels of shape"):
        alignment(same, np.zeros(4))
    with pytest.raises(UserError, match="feature row 3 has no label"):
        alignment(same, np.array([0, 0, 1, math.nan, 1]))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones(5), r"features of shape \(5,\); give \(rows, features\)"),
        (np.ones((5, 2, 1)), r"features of shape \(5, 2, 1\)"),
        (np.ones((5, 0)), r"features of shape \(5, 0\)"),
        (np.ones((5, 2)) * 1j, "features of type complex128"),
        (np.ma.masked_array(np.ones((5, 2))), "features in a masked array"),
        (np.full((5, 2), "1"), "features of type <U1"),
    ],
)
def test_cka_takes_what_the_others_take(bad, message):
    rows = np.random.default_rng(0).standard_normal((5, 2))
    for pair in ((bad, rows), (rows, bad)):
        with pytest.raises(UserError, match=message):
            linear_cka(*pair)
    half = torch.from_numpy(rows).bfloat16()
    assert linear_cka(half, rows) == linear_cka(half.double().numpy(), rows)
