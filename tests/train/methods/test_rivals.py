"""MIRO, LDIFS and GCISG against closed forms and NumPy; LP-FT and frozen stages bit for bit."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from csg_train.engine import loop as engine
from csg_train.engine.loop import learning_rate_factor
from csg_train.errors import UserError
from csg_train.methods.base import Setup
from csg_train.methods.frozen import freeze, stage_modules
from csg_train.methods.gcisg import guidance
from csg_train.methods.miro import MIRO, MIROConfig, ldifs_distance, variational_distance
from csg_train.models.backbones import BACKBONES, Backbone
from csg_train.models.network import Network
from csg_train.models.weights import build_backbone
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.snapshots import snapshot_folder
from tests.nested import equal
from tests.tiny_models import FAMILIES
from tests.train.methods.test_methods import CPU, recipe_of, run


def maps(*seeds: int) -> list[torch.Tensor]:
    return [torch.randn(4, 6, 3, 2, generator=torch.Generator().manual_seed(seed)).relu() for seed in seeds]


def test_miro_by_numpy():
    one, two = maps(0, 1)
    free = torch.linspace(-2, 2, 6)
    variance = np.log1p(np.exp(free.double().numpy())) + 1e-5
    squares = (one.double().numpy() - two.double().numpy()) ** 2
    expected = 0.0
    for n, c, i, j in np.ndindex(*squares.shape):
        expected += (squares[n, c, i, j] / variance[c] + math.log(variance[c])) / (2 * squares.size)
    assert variational_distance(one, two, free).item() == pytest.approx(expected, rel=1e-6)


def test_miro_of_equal_features_its_best_variance_and_half_of_feature_l2():
    """Equal features at the start: 1/2 ln 0.1 a layer. The best v is the mean square: 1/2 (1 + ln mse). v = 1: half."""
    method, network = MIRO(MIROConfig(weight=1.0)), Network("narrow", classes=3, hidden=8, seed=0)
    method.prepare(network.eval(), Setup(seed=0, source=lambda _: iter(()), steps=1, weights="none"))
    assert method.layers == ("layer1", "layer2", "layer3", "layer4")
    stages = network.backbone(torch.zeros(2, 3, 32, 32)).stages
    for name, free in method.free.items():
        assert variational_distance(stages[name], stages[name], free).item() == pytest.approx(-1.151293, rel=1e-5)
    one, two = maps(0, 1)
    mse = (one - two).square().mean(dim=(0, 2, 3))
    best = torch.log(torch.expm1(mse - 1e-5)).requires_grad_()
    value = variational_distance(one, two, best)
    assert value.item() == pytest.approx(((1 + mse.log()) / 2).mean().item(), rel=1e-5)
    assert torch.autograd.grad(value, best)[0].abs().max() < 1e-7
    unit = torch.full((6,), math.log(math.expm1(1 - 1e-5)))
    assert variational_distance(one, two, unit).item() == pytest.approx((one - two).square().mean().item() / 2)


def test_ldifs_is_two_minus_two_cosines_over_the_channels():
    one, two = maps(0, 1)
    cosine = (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1)).clamp_min(1e-12)
    both = (one.norm(dim=1) > 0).float() + (two.norm(dim=1) > 0).float()
    assert ldifs_distance(one, two).item() == pytest.approx(((both - 2 * cosine) / 6).mean().item(), rel=1e-5)
    assert ldifs_distance(3 * one, one).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("given", "weight"), [({}, 0.1), ({"distance": "ldifs"}, 10.0), ({"weight": 0.0}, 0.0)])
def test_the_strength_that_is_not_given_is_the_published(given, weight, recipe_dict):
    recipe = Recipe.model_validate(recipe_dict | {"method": {"name": "miro"} | given})
    assert recipe.method["weight"] == weight
    assert recipe.build_method().config.weight == weight


def test_guidance_is_the_root_of_all_cosines_and_has_no_gradient_where_features_are_equal():
    one, two = maps(0, 1)

    def pooled(values: np.ndarray) -> np.ndarray:
        mean = values.mean(axis=(2, 3))
        scores = np.einsum("nchw,nc->nhw", values, mean)
        rows = np.einsum("nchw,nhw->nc", values, scores / scores.sum(axis=(1, 2), keepdims=True))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    cosines = (pooled(one.double().numpy()) * pooled(two.double().numpy())).sum(axis=1)
    expected = math.sqrt((2 - 2 * cosines).sum())
    assert guidance(one, two).item() == pytest.approx(expected, rel=1e-5)
    assert guidance(5 * one, two).item() == pytest.approx(expected, rel=1e-5)
    free = one.clone().requires_grad_()
    plain = (torch.nn.functional.normalize(free.mean(dim=(2, 3)), dim=1) * 0).sum()  # a graph without influence
    (1000 * guidance(free, one) + plain).backward()  # of a weight of 1 the gradient was zero, of 10 NaN
    assert guidance(free, one).item() == 0
    assert torch.equal(free.grad, torch.zeros_like(one))


def test_the_gradient_of_the_guidance_is_that_of_a_norm():
    one, two = (value.double() for value in maps(0, 1))
    assert torch.autograd.gradcheck(lambda value: guidance(value, two), (one + 0.1).requires_grad_())


@pytest.mark.parametrize("label", ["lp-ft", "lp-ft+csg+ema+pasta"])
def test_a_probe_moves_no_weight_of_the_backbone_and_then_all_move(label, recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, label, steps=6, probe=3, snapshots=6, lr_backbone=0.1)
    start = engine._Run(recipe, tmp_path / "start", CPU).network.state_dict()
    run(recipe, tmp_path / "run")
    states = [load_checkpoint(snapshot_folder(tmp_path / "run", step) / "ckpt.pt").model for step in range(7)]
    moved = [{name for name in start if not torch.equal(start[name], state[name])} for state in states]
    assert moved[0] == set()
    assert moved[1] == moved[2] == moved[3] == {name for name in start if name.startswith("head.")}
    weights = {name for name in start if name.endswith((".weight", ".bias")) and ".fc." not in name}
    assert moved[4] == weights


def test_a_probe_is_the_oracle_s_run_bit_for_bit(recipe_dict, tmp_path):
    """Equal schedule and optimiser: the head after k steps is that of the frozen network trained for k."""
    run(recipe_of(recipe_dict, "lp-ft", steps=6, probe=4), tmp_path / "probe")
    oracle = load_checkpoint(run(recipe_of(recipe_dict, "oracle", steps=4), tmp_path / "oracle"))
    assert equal(load_checkpoint(snapshot_folder(tmp_path / "probe", 4) / "ckpt.pt").model, oracle.model)


def test_the_second_stage_has_a_new_optimiser_and_a_schedule_of_its_own(recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, "lp-ft", steps=7, probe=3, weight_decay=0.1)
    alone = [recipe.train.model_copy(update={"steps": steps, "probe": 0}) for steps in (3, 4)]
    factors = [learning_rate_factor(step, recipe.train) for step in range(7)]
    assert factors == [learning_rate_factor(step, train) for train in alone for step in range(train.steps)]
    one = engine._Run(recipe, tmp_path, CPU)
    batches = one._batches()
    for _ in range(3):
        one._train_step(next(batches))
    head = next(one.network.head.parameters())
    before = head.detach().clone()
    one._train_step(next(batches))
    torch.testing.assert_close(one.optimizer.state[head]["momentum_buffer"], head.grad + 0.1 * before)


def test_a_probe_keeps_statistics_that_training_moves(recipe_dict, tmp_path):
    recipe_dict["model"] |= {"batch_norm": "train"}
    end = load_checkpoint(run(recipe_of(recipe_dict, "lp-ft", probe=2), tmp_path)).model
    assert end["backbone.net.bn1.num_batches_tracked"] == 3


def test_a_probe_decays_no_weight_of_the_backbone_where_a_penalty_pulls_it(recipe_dict, tmp_path):
    recipe_dict["method"] = {"name": "weight-l2", "update": "gradient"}
    recipe_dict["train"] |= {"steps": 4, "probe": 2, "weight_decay": 0.1}
    one = engine._Run(Recipe.model_validate(recipe_dict), tmp_path, CPU)
    start = {name: value.clone() for name, value in one.network.backbone.state_dict().items()}
    batches = one._batches()
    for _ in range(2):
        one._train_step(next(batches))
    assert equal(dict(one.network.backbone.state_dict()), start)


def test_stages_are_the_whole_backbone_and_the_first_has_the_stem():
    stages = stage_modules(Backbone(BACKBONES["resnet18"]))
    assert list(stages) == ["layer1", "layer2", "layer3", "layer4"]
    backbone = Backbone(BACKBONES["resnet18"])
    own = stage_modules(backbone)
    assert backbone.net.conv1 in own["layer1"]
    assert backbone.net.bn1 in own["layer1"]
    assert backbone.net.layer1[-1].bn2 in own["layer1"]  # the last of its stage
    assert backbone.net.layer2[0].conv1 in own["layer2"]
    assert backbone.net.fc in own["layer4"]
    held = [id(weight) for modules in own.values() for module in modules for weight in module.parameters(False)]
    assert sorted(held) == sorted(map(id, backbone.net.parameters()))
    lite = Backbone(BACKBONES["tf_efficientnet_lite0"])
    freeze(lite, ["layer3"])
    trained = {name for name, weight in lite.net.named_parameters() if weight.requires_grad}
    assert "blocks.5.0.conv_pwl.weight" in trained  # behind the map of layer3
    assert not {name for name in trained if name.startswith(("conv_stem", "blocks.4", "blocks.5.0.conv_pw.", "class"))}


def test_frozen_stages_keep_statistics_too_and_are_refused_by_name(recipe_dict, tmp_path):
    recipe_dict["model"] |= {"batch_norm": "train"}
    out = tmp_path / "run"
    end = load_checkpoint(run(recipe_of(recipe_dict, "baseline", frozen=["layer1", "layer2"]), out)).model
    counts = {name: int(value) for name, value in end.items() if "num_batches" in name}
    assert {name.split(".")[2] for name, count in counts.items() if count == 0} == {"bn1", "layer1", "layer2"}
    assert set(counts.values()) == {0, 5}
    every = ["layer1", "layer2", "layer3", "layer4"]
    for frozen, message in ((["layer9"], "train.frozen: layer9 not in"), (every, "every stage .*oracle")):
        with pytest.raises(UserError, match=message):
            run(recipe_of(recipe_dict, "baseline", frozen=frozen), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_trains_is_not_held_by_a_frozen_module_around_it():
    """The tokens of XCiT belong to the network itself, which is of the first stage."""
    backbone = build_backbone("timm/xcit_nano_12_p16_224")[0].train()
    for module in freeze(backbone, ["layer1"]):
        module.eval()
    norms = {name: module for name, module in backbone.net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    held = {name for name, module in norms.items() if not module.training}
    assert held == {name for name, module in norms.items() if not any(w.requires_grad for w in module.parameters())}
    assert 0 < len(held) < len(norms)
    assert not backbone.net.cls_token.requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_on_every_family_a_frozen_first_stage_depends_on_nothing_that_trains(family):
    """Whatever the other weights become, the map of stage 1 stays and that of stage 2 does not."""
    backbone = build_backbone(FAMILIES[family])[0].eval()
    freeze(backbone, ["layer1"])
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = backbone(pictures).stages
        for weight in backbone.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
        after = backbone(pictures).stages
    assert torch.equal(after["stage1"], before["stage1"])
    assert not torch.equal(after["stage2"], before["stage2"])
