"""IBN-Net's rewrite against torch's own InstanceNorm and BatchNorm on the halves, bit for bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import nn

from csg_train.engine.loop import _Run
from csg_train.errors import UserError
from csg_train.models.backbones import BACKBONES, Backbone
from csg_train.models.ibn import SplitNorm, rewrite_ibn
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.sections import Recipe
from csg_train.runs.importing import import_file


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaken(net: nn.Module) -> nn.Module:
    """Every BatchNorm with weights and statistics of its own, so that a mix-up shows; evaluation mode."""
    generator = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return net.eval()


@pytest.mark.parametrize("training", [False, True])
def test_split_norm_equals_torchs_norms_on_the_halves(training):
    norm = shaken(nn.BatchNorm2d(10, eps=1e-3, momentum=0.2)).train(training)
    split, v = SplitNorm(norm), maps(3, 10, 4, 5)
    instance, batch = nn.InstanceNorm2d(5, eps=1e-3, affine=True), nn.BatchNorm2d(5, eps=1e-3, momentum=0.2)
    instance.load_state_dict({"weight": norm.weight[:5].detach(), "bias": norm.bias[:5].detach()})
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(batch, name).data.copy_(getattr(norm, name)[5:])
    batch.train(training)
    assert torch.equal(split(v), torch.cat([instance(v[:, :5]), batch(v[:, 5:])], dim=1))
    assert torch.equal(split.BN.running_var, batch.running_var)
    assert split.BN.training is training


def test_split_norm_is_the_original_on_a_picture_with_the_recorded_statistics():
    v = maps(1, 8, 6, 6).double()
    norm = shaken(nn.BatchNorm2d(8)).double()
    norm.running_mean.copy_(v.mean(dim=(0, 2, 3)))
    norm.running_var.copy_(v.var(dim=(0, 2, 3), unbiased=False))
    torch.testing.assert_close(SplitNorm(norm)(v), norm(v))


def test_the_instance_half_forgets_scale_and_shift_of_a_pictures_channels_and_the_batch_half_does_not():
    split, v = SplitNorm(shaken(nn.BatchNorm2d(6, eps=1e-12)).double()), maps(2, 6, 5, 5).double()
    styled = v * (1 + torch.rand(2, 6, 1, 1)) + torch.rand(2, 6, 1, 1)
    torch.testing.assert_close(split(styled)[:, :3], split(v)[:, :3])
    assert (split(styled)[:, 3:] - split(v)[:, 3:]).abs().max() > 0.1


def split_by_hand(norm: nn.BatchNorm2d, v: torch.Tensor) -> torch.Tensor:
    half = norm.num_features // 2
    first = F.instance_norm(v[:, :half], weight=norm.weight[:half], bias=norm.bias[:half], eps=norm.eps)
    statistics = (norm.running_mean[half:], norm.running_var[half:])
    rest = F.batch_norm(v[:, half:], *statistics, norm.weight[half:], norm.bias[half:], eps=norm.eps)
    return torch.cat([first, rest], dim=1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_variant_a_of_a_whole_network(name):
    """The original with hooks that replace the output of the first BatchNorm of each block in layers 1 to 3."""
    net, images = shaken(Backbone(BACKBONES[name]).net), maps(2, 3, 64, 64)
    rewritten = copy.deepcopy(net)
    rewrite_ibn(rewritten, "a")
    for layer in (net.layer1, net.layer2, net.layer3):
        for block in layer:
            block.bn1.register_forward_hook(lambda norm, inputs, _: split_by_hand(norm, inputs[0]))
    with torch.no_grad():
        assert torch.equal(rewritten(images), net(images))
    assert sum(w.numel() for w in rewritten.parameters()) == sum(w.numel() for w in net.parameters())


@pytest.mark.parametrize(("name", "relus"), [("resnet18", 2), ("resnet50", 3)])
def test_variant_b_of_a_whole_network(name, relus):
    """The original with a hook on the stem and one before the last ReLU of the last block of layers 1 and 2."""
    net, images = shaken(Backbone(BACKBONES[name]).net), maps(2, 3, 64, 64)
    rewritten = copy.deepcopy(net)
    rewrite_ibn(rewritten, "b")
    added = 0
    for layer, seed in ((1, 1), (2, 2)):
        norm = rewritten.get_submodule(f"layer{layer}")[-1].IN
        assert norm.weight.eq(1).all()
        assert norm.bias.eq(0).all()
        with torch.no_grad():
            norm.weight.copy_(maps(norm.num_features, seed=seed))
            norm.bias.copy_(maps(norm.num_features, seed=seed + 5))
        added += 2 * norm.num_features
        calls = []

        def before_relu(_module, inputs, calls=calls, norm=norm):
            calls.append(1)
            return F.instance_norm(inputs[0], weight=norm.weight, bias=norm.bias) if len(calls) == relus else None

        net.get_submodule(f"layer{layer}")[-1].relu.register_forward_pre_hook(before_relu)
    net.bn1.register_forward_hook(lambda m, inputs, _: F.instance_norm(inputs[0], weight=m.weight, bias=m.bias))
    with torch.no_grad():
        assert torch.equal(rewritten(images), net(images))
    assert sum(w.numel() for w in rewritten.parameters()) == sum(w.numel() for w in net.parameters()) + added


def test_names_of_a_rewritten_resnet50_are_those_of_the_released_weights():
    """As resnet_ibn.py of the authors lists them (read in XingangPan/IBN-Net)."""
    a, b, plain = (Backbone(BACKBONES["resnet50"]).net for _ in range(3))
    rewrite_ibn(a, "a")
    rewrite_ibn(b, "b")
    norms = [f"layer{layer}.{block}.bn1" for layer, blocks in ((1, 3), (2, 4), (3, 6)) for block in range(blocks)]
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    gone = {f"{norm}.{leaf}" for norm in norms for leaf in leaves}
    new = {f"{norm}.BN.{leaf}" for norm in norms for leaf in leaves}
    new |= {f"{norm}.IN.{leaf}" for norm in norms for leaf in ("weight", "bias")}
    assert set(a.state_dict()) == (set(plain.state_dict()) - gone) | new
    assert a.state_dict()["layer1.0.bn1.IN.weight"].shape == (32,)

    statistics = {f"bn1.{leaf}" for leaf in leaves[2:]}
    new = {f"{block}.IN.{leaf}" for block in ("layer1.2", "layer2.3") for leaf in ("weight", "bias")}
    assert set(b.state_dict()) == (set(plain.state_dict()) - statistics) | new


@pytest.mark.parametrize("variant", ["a", "b"])
def test_a_released_file_is_imported_and_starts_a_run_bit_for_bit(variant, masked_recipe_dict, tmp_path):
    """As parallel training saves it, without counters, which are 0 then."""
    net = shaken(Backbone(BACKBONES["resnet18"]).net)
    rewrite_ibn(net, variant)
    own = net.state_dict()
    released = {f"module.{name}": value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    torch.save(released, tmp_path / "released.pth")
    fields = [f"method.variant={variant}", "model.backbone=resnet18"]
    out = tmp_path / "ibn.pt"
    import_file(tmp_path / "released.pth", "ibn-net", load_recipe("gta5-resnet50-ibn-net", fields), out)
    masked_recipe_dict["model"] |= {"backbone": "resnet18", "weights": str(out)}
    masked_recipe_dict["method"] = {"name": "ibn-net", "variant": variant, "start": "released"}
    started = _Run(Recipe.model_validate(masked_recipe_dict), tmp_path / "run", torch.device("cpu"))
    found = started.network.backbone.net.state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], value) for name, value in own.items())
    masked_recipe_dict["method"]["start"] = "plain"
    with pytest.raises(UserError, match="not weights of resnet18"):
        _Run(Recipe.model_validate(masked_recipe_dict), tmp_path / "run", torch.device("cpu"))


def test_lite0_splits_the_blocks_at_strides_4_to_16_and_keeps_their_activation():
    net, images = shaken(Backbone(BACKBONES["tf_efficientnet_lite0"]).net), maps(2, 3, 64, 64)
    rewritten = copy.deepcopy(net)
    rewrite_ibn(rewritten, "a")
    found = [name for name, module in rewritten.named_modules() if isinstance(module, SplitNorm)]
    assert found == [f"blocks.{i}.{j}.bn1" for i, count in ((1, 2), (2, 2), (3, 3), (4, 3)) for j in range(count)]
    for name in found:
        norm = net.get_submodule(name)
        assert isinstance(norm, BatchNormAct2d)
        norm.register_forward_hook(lambda norm, inputs, _: F.relu6(split_by_hand(norm, inputs[0])))
    with torch.no_grad():
        assert torch.equal(rewritten(images), net(images))


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_frozen_scales_and_shifts_stay_frozen_and_new_ones_are_trained(part):
    net = Backbone(BACKBONES["resnet18"]).net
    net.layer1.requires_grad_(False)
    rewrite_ibn(net, "a")
    assert not getattr(net.layer1[0].bn1.BN, part).requires_grad
    assert getattr(net.layer1[0].bn1.IN, part).requires_grad
    assert getattr(net.layer2[0].bn1.BN, part).requires_grad


def test_stages_of_a_dilated_and_rewritten_backbone_stay_where_they_were():
    backbone = Backbone(BACKBONES["resnet18"], output_stride=8).eval()
    rewrite_ibn(backbone.net, "b")
    with torch.no_grad():
        stages = backbone(torch.rand(1, 3, 64, 64)).stages
    assert {name: value.shape[1:] for name, value in stages.items()} == {
        "layer1": (64, 16, 16),
        "layer2": (128, 8, 8),
        "layer3": (256, 8, 8),
        "layer4": (512, 8, 8),
    }
    assert all(bool((value >= 0).all()) for value in stages.values())


def test_variant_b_is_refused_where_it_is_not_defined():
    with pytest.raises(UserError, match=r"method\.variant: IBN-Net's b is not defined for timm's EfficientNet"):
        rewrite_ibn(Backbone(BACKBONES["tf_efficientnet_lite0"]).net, "b")
