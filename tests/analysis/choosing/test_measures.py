"""Measures without labels: closed forms, hand-computed cases, independent formulas, and what leaves each as it is."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from csg_analysis.choosing.agreement import agreement
from csg_analysis.choosing.confidence import (
    average_confidence,
    confidence,
    difference_of_confidences,
    held_out_accuracy,
    negative_entropy,
    nuclear_norm,
    share_above_threshold,
)
from csg_analysis.choosing.distances import frechet_distance, squared_mmd
from csg_analysis.choosing.table import MEASURES
from csg_train.errors import UserError
from csg_train.evaluate.scores import mean_per_class


def inputs_of(seed: int, n: int = 30, m: int = 24, d: int = 6, c: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "real_features": rng.normal(size=(n, d)) + 1,
        "held_features": rng.normal(size=(m, d)) + rng.normal(size=d),
        "real_probabilities": softmax(2 * rng.normal(size=(n, c)), axis=1),
        "held_probabilities": softmax(3 * rng.normal(size=(m, c)), axis=1),
        "held_right": rng.random(m) < 0.6,
        "held_labels": rng.permutation(np.arange(m) % c),
        "real_predicted": rng.integers(0, c, n),
        "of_seeds": rng.integers(0, c, (2, n)),
        "of_runs": rng.integers(0, c, (5, n)),
    }


def _reordered(inputs, rng):
    real, held = rng.permutation(30), rng.permutation(24)
    return {
        name: value[held] if name.startswith("held") else value[real] if name.startswith("real") else value[:, real]
        for name, value in inputs.items()
    }


def _rotated(inputs, rng):
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return {name: value @ turn if name.endswith("features") else value for name, value in inputs.items()}


def _scaled(inputs, rng):
    return {
        name: value * np.exp(rng.normal(size=(len(value), 1))) if name.endswith("features") else value
        for name, value in inputs.items()
    }


def _renamed(inputs, rng):
    """Classes in another order."""
    to = rng.permutation(4)
    back = np.argsort(to)
    changed = {name: to[inputs[name]] for name in ("held_labels", "real_predicted", "of_seeds", "of_runs")}
    return inputs | changed | {name: value[:, back] for name, value in inputs.items() if name.endswith("probabilities")}


@pytest.mark.parametrize("change", [_reordered, _rotated, _scaled, _renamed])
@pytest.mark.parametrize("name", MEASURES)
def test_bounds_and_what_moves_no_measure(name, change):
    """Pictures in another order, features turned and stretched row by row, classes renamed."""
    measure = MEASURES[name]
    for seed in range(5):
        inputs = inputs_of(seed)
        value = measure.of(inputs)
        low, high = (
            default if end is None else end for end, default in ((measure.low, -np.inf), (measure.high, np.inf))
        )
        assert low <= value <= high
        changed = measure.of(change(inputs, np.random.default_rng(seed)))
        assert changed == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_confidence_by_hand():
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [1.0, 0.0, 0.0]])
    assert confidence(rows).tolist() == [0.7, 0.5, 1.0]
    assert average_confidence(rows) == pytest.approx(2.2 / 3)
    entropies = [0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1), 0.5 * math.log(0.5)]
    entropies[1] += 0.1 * math.log(0.1) + 0.4 * math.log(0.4)
    assert negative_entropy(rows) == pytest.approx([*entropies, 0])


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([1, 1, 0, 1], 0.5),  # one wrong: t is the second lowest, 0.6, and two of four reach it
        ([1, 1, 1, 1], 0.75),  # none wrong: t is the lowest, 0.5
        ([0, 0, 0, 0], 0.0),  # all wrong: no score is enough
        ([0, 0, 0, 1], 0.25),  # t is the highest, 0.9
    ],
)
def test_atc_by_hand(right, expected):
    held, real = np.array([0.9, 0.6, 0.8, 0.5]), np.array([0.95, 0.6, 0.55, 0.4])
    assert share_above_threshold(held, np.array(right, dtype=bool), real) == expected


def test_estimates_of_the_pictures_that_they_were_fitted_on_are_the_accuracy():
    inputs = inputs_of(1)
    held, right = inputs["held_probabilities"], inputs["held_right"]
    for score in (confidence, negative_entropy):
        assert share_above_threshold(score(held), right, score(held)) == pytest.approx(right.mean())
    assert difference_of_confidences(held, right, held) == pytest.approx(right.mean())


def test_doc_by_hand():
    """Three of four right, mean confidence 0.9 there and 0.6 here: 0.75 - 0.3."""
    held, real = np.array([[0.9, 0.1]] * 4), np.array([[0.4, 0.6]] * 2)
    assert difference_of_confidences(held, np.array([True, True, False, True]), real) == pytest.approx(0.45)


def test_nuclear_norm_of_certain_and_of_even_predictions():
    """One-hot: the columns are orthogonal, of lengths sqrt n_c. Even ones have rank 1."""
    for counts in ([5, 5, 5], [12, 2, 1], [15, 0, 0]):
        rows = np.repeat(np.eye(3), counts, axis=0)
        assert nuclear_norm(rows) == pytest.approx(sum(map(math.sqrt, counts)) / math.sqrt(15 * 3))
    assert nuclear_norm(np.full((15, 3), 1 / 3)) == pytest.approx(1 / 3)
    assert nuclear_norm(np.eye(5)[:2]) == pytest.approx(1)  # fewer pictures than classes


def test_agreement_of_identical_runs_is_one():
    predicted = np.array([0, 1, 2, 2])
    assert agreement(predicted, np.array([predicted, predicted])) == 1
    assert agreement(predicted, np.array([predicted, [0, 1, 0, 0], [1, 2, 0, 0]])) == pytest.approx(0.5)
    with pytest.raises(UserError, match="no other run"):
        agreement(predicted, np.array([]))


def test_held_out_accuracy_is_that_of_the_confusion():
    inputs = inputs_of(2)
    labels, right = inputs["held_labels"][:21], inputs["held_right"][:21]
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (labels, np.where(right, labels, (labels + 1) % 4)), 1)
    assert held_out_accuracy(right, labels) == pytest.approx(mean_per_class(confusion))


E1, E2 = np.array([1.0, 0]), np.array([0.0, 1])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([E1, E1], [E2, E2], 2),  # two points at a right angle
        ([E1, E1], [-E1, -E1], 4),
        ([E1, -E1], [E2, -E2], 2),  # variances 1 in two directions, the same mean
        ([E1, E1, E1, -E1], [E1, -E1], 0.25 + (1 - math.sqrt(0.75)) ** 2),  # N(1/2, 3/4) and N(0, 1) on a line
    ],
)
def test_frechet_distance_of_known_gaussians(first, second, expected):
    assert frechet_distance(np.array(first), 3 * np.array(second)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 5), (9, 12, 30)])
def test_frechet_distance_is_the_formula_with_a_root_of_a_matrix(n, m, d):
    x, y = inputs_of(0, n, m, d)["real_features"], inputs_of(0, n, m, d)["held_features"]
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    s, t = (np.cov(rows.T, bias=True) for rows in (x, y))
    root = sqrtm(s)
    cross = np.trace(np.real(sqrtm(root @ t @ root)))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s) + np.trace(t) - 2 * cross
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-12)


def test_mmd_of_two_points_by_hand():
    """Cross pairs alone are apart, by 2: w = 4 * 4 / 6, and the kernel exp(-3/2)."""
    assert squared_mmd(np.array([E1, E1]), np.array([-E1, -E1])) == pytest.approx(2 - 2 * math.exp(-1.5))


@pytest.mark.parametrize("n", [12, 1100])  # within one block, and over several
def test_mmd_is_the_loop(n):
    inputs = inputs_of(3, n, 40)
    x, y = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (inputs["real_features"], inputs["held_features"])
    )
    width = pdist(np.concatenate([x, y]), "sqeuclidean").mean()
    own = sum(np.exp(-pdist(rows, "sqeuclidean") / width).mean() for rows in (x, y))
    expected = own - 2 * np.exp(-cdist(x, y, "sqeuclidean") / width).mean()
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-9)


def test_mmd_of_one_distribution_is_zero_in_the_mean():
    rng = np.random.default_rng(0)
    values = [squared_mmd(rng.normal(size=(20, 3)), rng.normal(size=(25, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0 < max(values)
    apart = [squared_mmd(rng.normal(size=(20, 3)), rng.normal(size=(25, 3)) + 1) for _ in range(50)]
    assert np.mean(apart) > max(values) / 2


def test_what_has_no_value_says_why():
    inputs = inputs_of(0) | {"real_features": np.ones((30, 6)), "held_features": np.ones((24, 6)), "of_seeds": []}
    found = {name: measure.recorded(inputs) for name, measure in MEASURES.items()}
    none = {name for name, one in found.items() if one.value is None}
    assert none == {"E_0", "effective rank", "MMD^2", "seed agreement"}
    assert all(bool(one.undefined) == (one.value is None) for one in found.values())
    assert found["Frechet"].value == pytest.approx(0, abs=1e-12)
    with pytest.raises(UserError, match="at least 2"):
        squared_mmd(np.ones((1, 2)), np.ones((4, 2)))


def test_each_line_of_the_table_has_the_inputs_and_the_better_end_of_its_source():
    inputs = inputs_of(9)
    real, held = inputs["real_probabilities"], inputs["held_probabilities"]
    right, labels = inputs["held_right"], inputs["held_labels"]
    x, y = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (inputs["held_features"], inputs["real_features"])
    )
    singular = np.linalg.svd(y - y.mean(0), compute_uv=False)
    surest = [(rows.max(1), (rows * np.log(rows)).sum(1)) for rows in (held, real)]
    least = [np.sort(scores)[(~right).sum()] for scores in surest[0]]
    same = {name: (inputs[name] == inputs["real_predicted"]).mean() for name in ("of_seeds", "of_runs")}
    expected = {
        "held-out accuracy": (np.mean([right[labels == label].mean() for label in range(4)]), True),
        "E_0": (-2 * np.log(pdist(y)).mean(), False),
        "effective rank": (math.exp(scipy_entropy(singular)), True),
        "confidence": (real.max(1).mean(), True),
        "ATC confidence": ((surest[1][0] >= least[0]).mean(), True),
        "ATC entropy": ((surest[1][1] >= least[1]).mean(), True),
        "DoC": (right.mean() - held.max(1).mean() + real.max(1).mean(), True),
        "nuclear norm": (np.linalg.norm(real, "nuc") / math.sqrt(30 * 4), True),
        "seed agreement": (same["of_seeds"], True),
        "run agreement": (same["of_runs"], True),
        "Frechet": (frechet_distance(x, y), False),
        "MMD^2": (squared_mmd(x, y), False),
    }
    assert {name: (measure.of(inputs), measure.higher_is_better) for name, measure in MEASURES.items()} == {
        name: (pytest.approx(value, rel=1e-9), higher) for name, (value, higher) in expected.items()
    }
    assert expected["ATC confidence"] != expected["ATC entropy"]
    assert expected["Frechet"][0] > 0.1


def test_the_least_energy_is_that_of_one_antipodal_pair():
    measure = MEASURES["E_0"]
    assert measure.of({"real_features": np.array([[2.0, 0], [-1, 0]])}) == pytest.approx(measure.low, rel=1e-15)
