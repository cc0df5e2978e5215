"""The optimiser's groups: named, complete, in the order that methods count on."""

import pytest

from csg_train.engine import loop as engine
from csg_train.errors import UserError
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
