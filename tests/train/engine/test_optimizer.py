"""The optimiser's groups: named, complete, in the order that methods count on."""

import pytest
import torch
from pydantic import ValidationError

from csg_train.engine import loop as engine
from csg_train.engine.optimizer import build_optimizer
from csg_train.errors import UserError
from csg_train.runs.checkpoint import load_optimizer
from tests.train.methods.test_methods import CPU, recipe_of

RESNET = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(
    ("method", "backbone", "names"),
    [
        ("csg", "resnet18", [*RESNET, "head"]),
        ("oracle", "resnet18", ["head"]),
        ("baseline", "tf_efficientnet_lite0", ["conv_stem", "bn1", "blocks", "conv_head", "bn2", "head"]),
    ],
)
def test_groups_are_named_and_hold_every_trained_weight_once(method, backbone, names, recipe_dict, tmp_path):
    recipe_dict["model"] |= {"backbone": backbone, "weights": "none"}
    run = engine._Run(recipe_of(recipe_dict, method), tmp_path, CPU)
    groups = run.optimizer.param_groups
    assert [group["name"] for group in groups] == names
    assert [group["base_lr"] for group in groups] == [0.001] * (len(names) - 1) + [0.01]
    held = [id(weight) for group in groups for weight in group["params"]]
    trained = [*run.network.parameters(), *run.method.parameters()]
    assert held == [id(weight) for weight in trained if weight.requires_grad]
    modules = dict(run.network.backbone.net.named_children())
    for group in groups[:-1]:
        own = {id(weight) for weight in modules[group["name"]].parameters()}
        assert {id(weight) for weight in group["params"]} == own
    classifier = modules["fc" if backbone == "resnet18" else "classifier"]
    assert not set(held) & {id(weight) for weight in classifier.parameters()}


def test_a_method_learns_steps_and_starting_weights(recipe_dict, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("csg_train.methods.baseline.Baseline.prepare", lambda self, model, setup: seen.append(setup))
    start = recipe_dict["model"]["weights"]
    recipe_dict["model"]["weights"] = "none"
    engine._Run(recipe_of(recipe_dict, "baseline"), tmp_path, CPU)
    recipe_dict["model"]["weights"] = start
    run = engine._Run(recipe_of(recipe_dict, "baseline", steps=7), tmp_path, CPU)
    assert [(setup.steps, setup.weights) for setup in seen] == [(5, "none"), (7, run.weights)]
    assert len(run.weights) == 64
    seen[1].require_imagenet("method.rates", run.network.backbone)
    with pytest.raises(UserError, match=r"method\.rates: .*model\.weights"):
        seen[0].require_imagenet("method.rates", run.network.backbone)


def test_adamw_is_its_equation(recipe_dict, tmp_path):
    """Three steps of one weight by hand: beta_1 is the recipe's momentum, the decay takes no part in the moments."""
    recipe = recipe_of(recipe_dict, "baseline", optimizer="adamw", momentum=0.8, weight_decay=0.1)
    run = engine._Run(recipe, tmp_path, CPU)
    head = run.optimizer.param_groups[-1]
    weight = head["params"][0]
    expected, first, second = weight.detach().double().clone(), 0.0, 0.0
    for step, scale in enumerate((1.0, -2.0, 0.5), start=1):
        gradient = torch.full_like(weight, scale)
        weight.grad = gradient.clone()
        run.optimizer.step()
        first = 0.8 * first + 0.2 * scale
        second = 0.999 * second + 0.001 * scale**2
        update = (first / (1 - 0.8**step)) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
        expected = expected * (1 - head["lr"] * 0.1) - head["lr"] * update
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "train", "message"),
    [
        ("baseline", {"sgd": "caffe"}, "train.sgd: caffe is a kind of SGD"),
        ("weight-l2", {}, "no rate for the proximal step of weight-l2; set method.update to gradient"),
    ],
)
def test_what_adamw_does_not_go_with(method, train, message, recipe_dict):
    with pytest.raises(ValidationError, match=message):
        recipe_of(recipe_dict, method, optimizer="adamw", **train)


@pytest.mark.parametrize("lost", ["exp_avg", "step"])
def test_a_state_of_adamw_with_a_part_lost_is_refused(lost, recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, "baseline", optimizer="adamw")
    run = engine._Run(recipe, tmp_path, CPU)
    for weight in run.trained:
        weight.grad = torch.ones_like(weight)
    run.optimizer.step()
    state = run.optimizer.state_dict()
    fresh = build_optimizer(run.network, run.method, recipe.train)
    load_optimizer(fresh, state, tmp_path)
    del state["state"][0][lost]
    with pytest.raises(UserError, match="optimiser state does not fit"):
        load_optimizer(build_optimizer(run.network, run.method, recipe.train), state, tmp_path)
