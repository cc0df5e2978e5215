"""Names of torchvision against torchvision's own forward pass, family by family; files, sizes, and what is refused."""

import copy
import re

import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.v2.functional import normalize

from csg_train.errors import UserError
from csg_train.models.backbones import Backbone, backbone_spec, own_size
from csg_train.models.ibn import rewrite_ibn
from csg_train.models.torchvision_models import torchvision_names
from csg_train.models.weights import build_backbone
from csg_train.recipes.sections import Recipe


def pictures(side: int, count: int = 2) -> torch.Tensor:
    shape = (count, 3, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


FAMILIES = {
    # side of the test's pictures, modules of the stages, side of the last, does a map go below zero
    "alexnet": (64, ["features.1", "features.4", "features.11", "features.12"], 1, False),
    "convnext_tiny": (64, ["features.1", "features.3", "features.5", "features.7"], 2, True),
    "densenet121": (64, [f"features.denseblock{number}" for number in (1, 2, 3, 4)], 2, True),
    "efficientnet_b0": (64, ["features.2", "features.3", "features.5", "features.8"], 2, True),
    "googlenet": (64, ["conv3", "inception3b", "inception4e", "inception5b"], 2, False),
    "inception_v3": (107, ["Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"], 2, False),
    "maxvit_t": (224, ["blocks.0", "blocks.1", "blocks.2", "blocks.3"], 7, True),
    "mnasnet0_5": (64, ["layers.8", "layers.9", "layers.11", "layers.16"], 2, True),
    "mobilenet_v2": (64, ["features.3", "features.6", "features.13", "features.18"], 2, True),
    "mobilenet_v3_small": (64, ["features.1", "features.3", "features.8", "features.12"], 2, True),
    "regnet_y_400mf": (64, [f"trunk_output.block{number}" for number in (1, 2, 3, 4)], 2, False),
    "resnext50_32x4d": (64, ["layer1", "layer2", "layer3", "layer4"], 2, False),
    "shufflenet_v2_x0_5": (64, ["maxpool", "stage2", "stage3", "conv5"], 2, False),
    "squeezenet1_1": (64, ["features.1", "features.4", "features.7", "features.12"], 3, False),
    "swin_t": (64, ["features.1", "features.3", "features.5", "features.7"], 2, True),
    "vgg11": (64, ["features.9", "features.14", "features.19", "features.20"], 2, False),
    "vit_b_16": (224, [f"encoder.layers.encoder_layer_{number}" for number in (2, 5, 8, 11)], 14, True),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_logits_and_normalisation_are_torchvisions_own(name):
    side, paths, last, negative = FAMILIES[name]
    before = torch.get_rng_state()
    spec = backbone_spec(name)
    assert torch.equal(torch.get_rng_state(), before)
    own = next(iter(torchvision.models.get_model_weights(name))).transforms()
    assert (own_size(name), list(spec.mean), list(spec.std)) == (own.crop_size[0], own.mean, own.std)
    backbone = Backbone(spec).eval()
    theirs = create_feature_extractor(backbone.net, [*paths, spec.classifiers[0]]).eval()
    images = pictures(side, 1)
    normalised = normalize(images / 255, own.mean, own.std)
    with torch.no_grad():
        ours, expected, logits = backbone(images), theirs(normalised), backbone.net(normalised)
    torch.testing.assert_close(ours.imagenet_logits, logits, rtol=1e-3, atol=1e-4)
    assert logits.shape == (1, 1000)
    assert backbone.solves_imagenet
    for number, path in enumerate(paths, start=1):
        value, width = expected[path], backbone.widths[f"layer{number}"]
        if name == "swin_t":
            value = value.permute(0, 3, 1, 2)
        elif name == "vit_b_16":  # the class token is the first
            value = value[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
        torch.testing.assert_close(
            ours.stages[f"layer{number}"], value, rtol=1e-3, atol=1e-3 * float(value.abs().max())
        )
        assert value.shape[1] == width
        if name != "resnext50_32x4d":
            assert ours.stages[f"stage{number}"] is ours.stages[f"layer{number}"]
    assert value.shape[-2:] == (last, last)
    assert any(bool((stage < 0).any()) for stage in ours.stages.values()) == negative
    if name in ("maxvit_t", "vit_b_16"):
        with pytest.raises(UserError, match=r"data\.size: this backbone takes 224 x 224 pixels alone, not 64 x 64"):
            backbone(pictures(64))
    assert spec.signed == (name != "resnext50_32x4d")


def test_every_classifier_has_a_size_and_a_network_of_each_builder_is_above():
    builders = {torchvision.models.get_model_builder(name).__module__ for name in torchvision_names()}
    tested = {torchvision.models.get_model_builder(name).__module__ for name in FAMILIES} | {
        torchvision.models.get_model_builder("resnet18").__module__
    }
    assert tested == builders
    assert {own_size(name) for name in torchvision_names()} <= set(range(224, 601))


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(UserError, match=r"data\.size: this backbone takes 17 pixels or more, not 16 x 16"):
        Backbone(backbone_spec("squeezenet1_1"))(pictures(16))


def test_segmentation_keeps_to_resnets_and_ibn_net_too():
    with pytest.raises(UserError, match=r"model\.backbone: torchvision's vgg11 cannot trade its strides for dilation"):
        Backbone(backbone_spec("vgg11"), output_stride=8)
    with torch.no_grad():
        dilated = Backbone(backbone_spec("resnext50_32x4d"), output_stride=8).eval()(pictures(64, 1)).stages["layer4"]
    assert dilated.shape[-2:] == (8, 8)
    for variant in ("a", "b"):
        rewritten = Backbone(backbone_spec("resnext50_32x4d")).eval()
        rewrite_ibn(rewritten.net, variant)
        with torch.no_grad():
            assert rewritten(pictures(64, 1)).stages["layer4"].shape == (1, 2048, 2, 2)
    net = backbone_spec("efficientnet_b0").build()
    with pytest.raises(UserError, match="ibn-net: not defined for EfficientNet of torchvision; choose a ResNet, or an"):
        rewrite_ibn(net, "a")


def test_an_unknown_name_is_told_what_is_close_to_it():
    for name, close in (("convnext_tny", "convnext_tiny"), ("deeplabv3_resnet50", "resnet50")):
        with pytest.raises(UserError, match=f"unknown backbone '{name}'; allowed: .* close to it: .*{close}"):
            build_backbone(name)


def test_old_published_files_are_the_network_of_today(tmp_path):
    """Old DenseNets have dots in names and no count of batches, old ViTs other names, googlenet more heads."""
    own = build_backbone("densenet121")[0].net.state_dict()
    dotted = re.compile(r"(denselayer\d+\.(?:norm|conv))(?=[12]\.)")
    old = {dotted.sub(r"\1.", key): value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    again = build_backbone("densenet121", tmp_path / "old.pth")[0].net.state_dict()
    assert list(again) == list(own)
    assert all(torch.equal(again[key], own[key]) for key in own)

    vit = backbone_spec("vit_b_32")
    with torch.device("meta"):
        names = list(vit.build().state_dict())
    of_2021 = {re.sub(r"mlp\.([03])\.", lambda at: f"mlp.linear_{1 + int(at[1]) // 3}.", name): 0 for name in names}
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.bias" in of_2021
    assert list(vit.adapt(of_2021)) == names

    whole = torchvision.models.googlenet(init_weights=False, aux_logits=True).state_dict()
    torch.save(whole, tmp_path / "whole.pth")
    again = build_backbone("googlenet", tmp_path / "whole.pth")[0].net.state_dict()
    assert {key.split(".")[0] for key in set(whole) - set(again)} == {"aux1", "aux2"}
    assert all(torch.equal(again[key], whole[key]) for key in again)
    del whole["conv1.conv.weight"]
    torch.save(whole | {"extra": torch.zeros(1)}, tmp_path / "cut.pth")
    with pytest.raises(UserError, match=r"missing conv1\.conv\.weight; unexpected extra"):
        build_backbone("googlenet", tmp_path / "cut.pth")


def test_a_plain_dict_is_enough_for_mnasnet_and_its_copies():
    """torchvision's class raises where torch's note of the version is missing, as in safetensors and checkpoints."""
    backbone, other = (Backbone(backbone_spec("mnasnet0_5")) for _ in range(2))
    state = dict(backbone.state_dict())
    copy.deepcopy(other).load_state_dict(state)
    assert not torch.equal(other.net.layers[0].weight, backbone.net.layers[0].weight)
    other.load_state_dict(state)
    assert torch.equal(other.net.layers[0].weight, backbone.net.layers[0].weight)


def test_published_weights_come_from_torchvision_or_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    published = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save(state, tmp_path / "hub" / "checkpoints" / published.url.rsplit("/", 1)[-1])
    backbone, _ = build_backbone("squeezenet1_1", "imagenet")  # from torchvision's own cache
    assert all(torch.equal(value, state[key]) for key, value in backbone.net.state_dict().items())

    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        UserError, match=r"squeezenet1_0: torchvision cannot download them \(no route to host\); give a file"
    ):
        build_backbone("squeezenet1_0", "imagenet")


def test_the_default_size_is_the_networks_own(recipe_dict):
    del recipe_dict["data"]["size"]
    sizes = {"efficientnet_b2": 288, "resnet152": 224, "resnet18": 224, "tf_efficientnet_lite1": 224}  # as ever
    for name, size in sizes.items():
        recipe_dict["model"] = {"backbone": name, "weights": "none"}
        assert Recipe.model_validate(recipe_dict).data.size == size
