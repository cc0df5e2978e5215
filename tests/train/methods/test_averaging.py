"""Averages against closed forms; SWAD's window on series made by hand, and against the two queues of its authors."""

import itertools
import random
from collections import deque

import numpy as np
import pytest
import torch

from csg_train.methods.averaging import EMA, mixed
from csg_train.methods.swad import SWAD, valley


def path(steps: int) -> list[list[torch.Tensor]]:
    """Weights of two shapes after steps 0, 1, ...: each step adds the same."""
    start, move = [torch.tensor([1.0, -2.0]), torch.full((2, 3), 0.5)], [torch.tensor([0.25, 4.0]), torch.ones(2, 3)]
    return [[w + t * d for w, d in zip(start, move, strict=True)] for t in range(steps + 1)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_moving_average_of_a_unit_jump_and_of_a_straight_line():
    """From 0 to 1 at step 1: 1 - m^t. On w_0 + t d the lag tends to d m / (1 - m): exactly d m (1 - m^t) / (1 - m)."""
    m, steps = 0.75, 9
    jump = EMA([torch.zeros(3)], decay=m)
    jump.restart([torch.zeros(3)], 0)
    line, weights = EMA(path(0)[0], decay=m), path(steps)
    line.restart(weights[0], 0)
    for t in range(1, steps + 1):
        jump.after_step([torch.ones(3)], t)
        line.after_step(weights[t], t)
        assert_close(jump.result()[0], [torch.full((3,), 1 - m**t)])
    lag = m * (1 - m**steps) / (1 - m)
    expected = [w - lag * (w - before) for w, before in zip(weights[steps], weights[steps - 1], strict=True)]
    assert_close(line.result()[0], expected)
    assert line.result()[1] == {"first_step": 0, "last_step": steps, "count": steps + 1}


HAND = [
    # losses, rule: the first and last evaluation of the window (from 1), whether it has ended
    ([3, 2], (3, 6, 0.3), None),
    ([3, 2, 1, 0.5], (3, 6, 0.3), None),  # it falls to the end
    ([3, 1, 1.1, 1.2], (3, 6, 0.3), (2, 4, False)),
    ([1, 1, 1], (3, 6, 0.0), (1, 3, False)),  # of equal losses the first is the lowest
    ([3, 2, 2.5, 1, 1, 1], (3, 6, 0.0), (4, 6, False)),  # 2 is not the lowest of three
    ([1, 1, 1, 1.31, 1.2, 1.31, 1.31], (3, 2, 0.3), (1, 5, True)),
    ([1, 1, 1, 1.31, 1.31, 1.0], (3, 2, 0.3), (1, 3, True)),  # it does not begin again
    ([1, 1, 1, 1.31, 1.29, 1.31, 1.30], (3, 2, 0.3), (1, 7, False)),
    ([1, 9, 2], (3, 6, 0.3), (1, 3, False)),  # the threshold is 1.3 * 4; 9 lies inside, for 2 follows
    ([1, 1.2, 9], (3, 1, 0.3), (1, 2, True)),  # judged by a threshold that is known only at the third
    ([2, 1, 5], (1, 1, 0.1), (1, 2, True)),
]


@pytest.mark.parametrize(("losses", "rule", "expected"), HAND)
def test_the_window_by_hand(losses, rule, expected):
    found = valley(losses, *rule)
    assert (found and (found[0] + 1, found[1] + 1, found[2])) == expected


def queues(losses: list[float], needed: int, tolerated: int, ratio: float) -> tuple[int, int] | None:
    """The window as SWAD's paper (algorithm 1) and code find it: queues of the last Ns and of the last Ne losses."""
    converge, smooth = deque(maxlen=needed), deque(maxlen=tolerated)
    start = threshold = None
    taken: list[int] = []
    for now, loss in enumerate(losses):
        converge.append((loss, now))
        smooth.append((loss, now))
        if start is None:
            if len(converge) == needed and int(np.argmin([one for one, _ in converge])) == 0:
                start = converge[0][1]
                threshold = (1 + ratio) * np.mean([one for one, _ in converge])
                taken = [start, *range(start + 1, now - tolerated + 1)]  # what has left the second queue already
            continue
        if smooth[0][1] < start:
            continue
        if min(one for one, _ in smooth) > threshold:
            return start, max(taken)
        taken.append(smooth[0][1])
    if start is None:
        return None
    rest = [one for one in smooth if one[1] > max(taken)]
    while rest and min(one for one, _ in rest) <= threshold:
        taken.append(rest.pop(0)[1])
    return start, max(taken)


def test_the_window_is_that_of_the_authors_queues():
    """Where their second queue is no shorter than the first, as published; else it forgets before it may judge."""
    draws = random.Random(0)
    for _ in range(3000):
        needed = draws.randint(1, 4)
        rule = (needed, draws.randint(needed, 7), draws.choice([0.0, 0.1, 0.3]))
        losses = [draws.choice([1.0, 1.05, 1.1, 1.2, 1.4, 2.0]) for _ in range(draws.randint(1, 16))]
        found = valley(losses, *rule)
        assert (found and found[:2]) == queues(losses, *rule), (losses, rule)


@pytest.mark.parametrize(("losses", "rule", "expected"), HAND)
@pytest.mark.parametrize("every", [1, 3])
def test_the_mean_is_that_of_every_step_of_the_window(losses, rule, expected, every):
    """On w_0 + t d the mean over t_s .. t_e is the middle; without a window that of the last evaluation's steps."""
    weights = path(every * len(losses))
    swad = SWAD(weights[0], evaluations=len(losses), rule=rule)
    swad.restart(weights[0], 0)
    for t in range(1, len(weights)):
        swad.after_step(weights[t], t)
        if t % every == 0:
            swad.after_loss(weights[t], t, losses[t // every - 1])
    first, last = (len(weights) - every, len(weights) - 1) if expected is None else [every * i for i in expected[:2]]
    assert_close(swad.result()[0], [(w + v) / 2 for w, v in zip(weights[first], weights[last], strict=True)])
    said = {"first_step": first, "last_step": last, "count": last - first + 1, "converged": expected is not None}
    assert swad.result()[1] == said


def test_swad_keeps_every_mean_that_a_later_window_may_start_with():
    """Random losses, every small rule: the weights of a step are its number, so their mean is the window's middle."""
    rng = np.random.default_rng(0)
    for starts, ends in itertools.product((1, 2, 3), (1, 2, 3, 4)):
        for _ in range(30):
            losses = rng.integers(1, 6, 12).astype(float).tolist()
            own = SWAD([torch.zeros(1, dtype=torch.float64)], evaluations=12, rule=(starts, ends, 0.3))
            for step in range(1, 25):
                weights = [torch.full((1,), float(step), dtype=torch.float64)]
                own.after_step(weights, step)
                if step % 2 == 0:
                    own.after_loss(weights, step, losses[step // 2 - 1])
            if (window := valley(losses, starts, ends, 0.3)) is None:
                continue
            first, last = (2 * (evaluation + 1) for evaluation in window[:2])
            (mean,), said = own.result()
            assert float(mean) == pytest.approx((first + last) / 2, abs=1e-9)
            assert said == said | {"first_step": first, "last_step": last, "count": last - first + 1}


def test_a_mean_of_one_step_is_from_it_to_it():
    average = EMA([torch.zeros(2)], decay=0.5)
    average.restart([torch.ones(2)], 7)
    assert average.result()[1] == {"first_step": 7, "last_step": 7, "count": 1}


def test_a_run_of_uneven_weights_continues_from_its_buffers():
    """The mean of scattered weights by NumPy, saved and loaded after every step."""
    draws = np.random.default_rng(0)
    steps = draws.normal(size=(24, 5)).astype(np.float32)
    losses = [5, 3, 3.1, 2.9, 3.2, 3.3, 9, 3.0, 9, 9, 9, 9]
    new = lambda: SWAD([torch.zeros(5)], evaluations=12, rule=(3, 3, 0.1))  # noqa: E731
    swad = new()
    for t, weights in enumerate(steps, start=1):
        swad.after_step([torch.tensor(weights)], t)
        if t % 2 == 0:
            swad.after_loss([torch.tensor(weights)], t, losses[t // 2 - 1])
        swad, saved = new(), {name: value.clone() for name, value in swad.state_dict().items()}
        swad.load_state_dict(saved)
    (mean,), said = swad.result()
    assert (said["first_step"], said["last_step"]) == (8, 16)
    np.testing.assert_allclose(mean.numpy(), steps[7:16].astype(np.float64).mean(axis=0), rtol=1e-5, atol=1e-6)


def test_mixtures_end_at_the_ends_bit_for_bit():
    one = {"w": torch.tensor([0.1, 0.7]), "count": torch.tensor(3)}
    two = {"w": torch.tensor([0.3, -1e9]), "count": torch.tensor(4)}
    for alpha, expected in ((0.0, one), (1.0, two)):
        assert all(torch.equal(mixed([one, two], [1 - alpha, alpha], {"w"})[key], expected[key]) for key in one)
    half = mixed([one, two], [0.5, 0.5], {"w"})
    middle = (one["w"].double() + two["w"].double()) / 2
    assert torch.equal(half["w"], middle.float())
    assert half["count"] == 4
    three = mixed([one, one, two], [1 / 3] * 3, {"w"})
    torch.testing.assert_close(three["w"], (2 * one["w"] + two["w"]) / 3)
