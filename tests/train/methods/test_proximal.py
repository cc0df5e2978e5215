"""The proximal pull against a numerical minimisation, its limits, and the gradient form."""

from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.methods.anchored import Anchored, proximal_share, split, trained_weights
from csg_train.methods.base import Setup
from csg_train.methods.ewc import EWC, EWCConfig
from csg_train.methods.synaptic_intelligence import SynapticIntelligence, SynapticIntelligenceConfig
from csg_train.methods.weight_l2 import WeightL2, WeightL2Config
from csg_train.runs.checkpoint import load_checkpoint
from tests.nested import equal
from tests.train.methods.test_methods import CPU, recipe_of, run

METHODS = ["weight-l2", "ewc", "si"]
STRENGTH = {"weight-l2": "weight", "ewc": "weight", "si": "c"}
ANCHOR = [0.5, -1.0, 2.0]
IMPORTANCE = torch.tensor([0.25, 2.0, 1.5], dtype=torch.float64)
CURVATURE = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)


def float64(values: list[float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


class Quadratic(nn.Module):
    """A backbone of two weights with rates of their own, a head, and the loss ``1/2 sum a w^2``, least at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.register_parameter("first", float64(ANCHOR[:1]))
        self.backbone.register_parameter("second", nn.Parameter(float64(ANCHOR[1:]).detach().view(1, 2)))
        self.head = float64([1.0])

    def weights(self) -> torch.Tensor:
        return torch.cat([weight.reshape(-1) for weight in trained_weights(self.backbone)])

    def optimizer(self, rate: float, momentum: float = 0.0) -> torch.optim.SGD:
        """The second weight's rate is three times the first's, the head's is another."""
        weights = [self.backbone.first, self.backbone.second, self.head]
        groups = [{"params": [weight], "lr": rate * by} for weight, by in zip(weights, (1, 3, 70), strict=True)]
        return torch.optim.SGD(groups, lr=1.0, momentum=momentum)


def anchored(name: str, strength: float, update: str) -> tuple[Anchored, Quadratic]:
    """A method on a fresh quadratic, whose coefficients are ``strength * IMPORTANCE`` (weight-l2: ``strength``)."""
    kinds: dict[str, Any] = {
        "weight-l2": lambda: WeightL2(WeightL2Config(weight=strength, update=update)),
        "ewc": lambda: EWC(EWCConfig(weight=2 * strength, update=update)),
        "si": lambda: SynapticIntelligence(SynapticIntelligenceConfig(c=strength, xi=1.0, update=update)),
    }
    method, model = kinds[name](), Quadratic()
    Anchored.prepare(method, model, Setup(seed=0, source=lambda _: iter(()), steps=1, weights="none"))
    if name != "weight-l2":
        method.register_buffer("fisher_K" if name == "ewc" else "path_K", IMPORTANCE.clone())
    return method, model


def step(method: Anchored, model: Quadratic, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss = (CURVATURE * model.weights().square() / 2).sum() + model.head.square().sum() / 200
    (loss + sum(method.loss(model, None, None).values())).backward()
    method.before_step(model, optimizer)
    optimizer.step()
    method.after_step(model)


def moved_away(model: Quadratic) -> torch.Tensor:
    """Weights that have left their anchor."""
    with torch.no_grad():
        model.backbone.first += 0.3
        model.backbone.second -= 0.7
    return model.weights().detach()


@pytest.mark.parametrize("name", METHODS)
def test_a_step_ends_at_the_minimum_of_penalty_and_distance(name):
    """Minimised numerically, weight by weight, from where the optimiser's step on the loss alone has ended."""
    method, model = anchored(name, 0.8, "proximal")
    start = moved_away(model)
    anchor = torch.tensor(ANCHOR, dtype=torch.float64)
    importance = {"weight-l2": torch.ones(3), "ewc": IMPORTANCE, "si": IMPORTANCE / ((start - anchor).square() + 1)}
    optimizer = model.optimizer(0.2, momentum=0.9)
    step(method, model, optimizer)
    for index, rate in enumerate([0.2, 0.6, 0.6]):
        c, a = 0.8 * importance[name][index].item(), ANCHOR[index]
        now = (start[index] - rate * CURVATURE[index] * start[index]).item()
        rate /= 1 - 0.9
        found = minimize_scalar(
            lambda w, c=c, a=a, now=now, r=rate: c * (w - a) ** 2 + (w - now) ** 2 / (2 * r), tol=1e-14
        )
        assert model.weights()[index].item() == pytest.approx(found.x, abs=1e-6)
        assert model.weights()[index].item() == pytest.approx(a + (now - a) / (1 + 2 * rate * c), rel=1e-14)
    buffers = torch.cat([optimizer.state[weight]["momentum_buffer"].view(-1) for weight in model.backbone.parameters()])
    torch.testing.assert_close(buffers, CURVATURE * start)  # of the loss alone
    assert model.head.item() == pytest.approx(1 - 70 * 0.2 / 100)


def test_the_share_is_exact_for_nothing_and_for_everything_and_precise_between():
    """In float32; 1 - 1 / (1 + x) would be a fifth off for 2e-7, weight-l2's at its default on VisDA-17."""
    share = proximal_share(torch.tensor([0.0, 1e-2, 0.5, 3e38]), 1e-5)
    assert share[[0, 3]].tolist() == [0, 1]
    torch.testing.assert_close(share[1:3].double(), torch.tensor([2e-7, 1e-5], dtype=torch.float64), rtol=2e-5, atol=0)
    assert proximal_share(torch.tensor([0.0, torch.inf]), 1.0).tolist() == [0, 1]


@pytest.mark.parametrize("name", METHODS)
def test_forms_agree_to_first_order_in_the_rate(name):
    """Their difference after a step falls with the square of the rate."""
    gaps = []
    for rate in (1e-3, 5e-4):
        ends = []
        for update in ("proximal", "gradient"):
            method, model = anchored(name, 0.8, update)
            moved_away(model)
            step(method, model, model.optimizer(rate))
            ends.append(model.weights().detach())
        gaps.append(ends[0] - ends[1])
    torch.testing.assert_close(gaps[0] / gaps[1], torch.full((3,), 4.0, dtype=torch.float64), rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_huge_strength_ends_at_the_anchor_where_the_gradient_ends_in_infinity(name):
    for update in ("proximal", "gradient"):
        method, model = anchored(name, 1e6, update)
        moved_away(model)
        optimizer = model.optimizer(0.1, momentum=0.9)
        for _ in range(300):
            step(method, model, optimizer)
        if update == "proximal":
            torch.testing.assert_close(model.weights().tolist(), ANCHOR, rtol=1e-4, atol=0)
        else:
            assert not model.weights().isfinite().all() or (model.weights().abs() > 1e3).any()


@pytest.mark.parametrize("update", ["proximal", "gradient"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weights_come_to_rest_where_the_equation_says(momentum, update):
    """At rest ``a w + 2 c (w - w*) = 0``, whatever the rate and the momentum, in both forms."""
    method, model = anchored("weight-l2", 0.8, update)
    optimizer = model.optimizer(0.05, momentum=momentum)
    for _ in range(500):
        step(method, model, optimizer)
    pull = 2 * 0.8
    rest = pull * torch.tensor(ANCHOR, dtype=torch.float64) / (CURVATURE + pull)
    torch.testing.assert_close(model.weights().detach(), rest)


@pytest.mark.parametrize("method", METHODS)
def test_without_strength_it_is_plain_sgd_bit_for_bit(method, recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, method)
    recipe = recipe.model_copy(update={"method": recipe.method | {STRENGTH[method]: 0.0}})
    ours = load_checkpoint(run(recipe, tmp_path / "ours"))
    plain = load_checkpoint(run(recipe_of(recipe_dict, "baseline"), tmp_path / "plain"))
    assert equal(ours.model, plain.model)
    assert equal(ours.optimizer, plain.optimizer)


@pytest.mark.parametrize("method", METHODS)
def test_all_weights_at_once_is_a_loop_over_them_bit_for_bit(method, recipe_dict, tmp_path):
    """In float32 and channels last, each group at a rate of its own, with the shares of every weight alone."""
    ours = engine._Run(recipe_of(recipe_dict, method), tmp_path, CPU)
    backbone, generator = ours.network.backbone, torch.Generator().manual_seed(0)
    trained = trained_weights(backbone)
    groups = ours.optimizer.param_groups
    with torch.no_grad():
        for weight in trained:
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
        if method == "si":
            ours.method.path_K.copy_(torch.rand(ours.method.path_K.shape, generator=generator))
        for index, group in enumerate(groups):
            group["lr"] = 0.3 / (index + 3)
        now = torch.cat([weight.reshape(-1) for weight in trained])
        coefficients = split(ours.method.strength * ours.method.importance(now), trained)
        rates = [group["lr"] / (1 - group["momentum"]) for group in groups for _ in group["params"]]
        anchors = split(ours.method._anchor[0], trained)
        expected = [weight.detach().clone() for weight in trained]
        for weight, anchor, coefficient, rate in zip(expected, anchors, coefficients, rates, strict=False):
            weight.lerp_(anchor, proximal_share(coefficient, rate))
    ours.method.before_step(ours.network, ours.optimizer)
    ours.method.after_step(ours.network)
    assert all(torch.equal(weight, other) for weight, other in zip(trained, expected, strict=True))
    assert any((anchor != weight).any() for anchor, weight in zip(anchors, trained, strict=True))


@pytest.mark.parametrize("strength", [1e6, 1e30])
@pytest.mark.parametrize("method", METHODS)
def test_a_network_at_a_huge_strength_and_rate(method, strength, recipe_dict, tmp_path):
    """Finite; weights that matter end at their anchor, and with all that matter the backbone is the starting one."""
    recipe = recipe_of(recipe_dict, method, lr_backbone=0.1, sgd="caffe")
    recipe = recipe.model_copy(update={"method": recipe.method | {STRENGTH[method]: strength}})
    setup = engine._Run(recipe, tmp_path / "setup", CPU)
    end = load_checkpoint(run(recipe, tmp_path / "run")).model
    pairs = [(end[f"backbone.{name}"], start) for name, start in setup.network.backbone.named_parameters()]
    assert all(value.isfinite().all() for value in end.values())
    if method == "weight-l2":
        assert all(torch.allclose(now, then, rtol=0, atol=1e-4 if strength == 1e6 else 0) for now, then in pairs)
    if method == "weight-l2" and strength == 1e6:
        gradient = recipe.model_copy(update={"method": recipe.method | {"update": "gradient"}})
        with pytest.raises(UserError, match="the loss is not finite"):
            run(gradient, tmp_path / "gradient")


@pytest.mark.parametrize("method", METHODS)
def test_the_penalty_is_logged_and_gives_no_gradient(method, recipe_dict, tmp_path):
    ours = engine._Run(recipe_of(recipe_dict, method), tmp_path, CPU)
    batches = ours._batches()
    for _ in range(3):
        ours._train_step(next(batches))
    row = ours.unlogged[-1]
    name = method.replace("-", "_")
    assert row[name] > 0
    assert row["loss"].item() == pytest.approx((row["ce"] + row[name]).item())
    assert not ours.method.penalty(ours.network).requires_grad
