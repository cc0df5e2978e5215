"""Every method on a small network of every family: it trains, keeps what is frozen, and resumes; or says why not."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.evaluate.segmentation import network_masks
from csg_train.models.weights import build_backbone
from csg_train.recipes.ready import load_splits, require_ready, require_trainable
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.training_log import read_log
from tests.nested import equal
from tests.tiny_models import FAMILIES
from tests.train.methods.cases import DILATED, FAMILY_CASES, REFUSED
from tests.train.methods.test_methods import CPU, recipe_of, run


@pytest.fixture(scope="session")
def family_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random weights of each family; read only."""
    root = tmp_path_factory.mktemp("families")
    for family, name in FAMILIES.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            torch.save(build_backbone(name)[0].net.state_dict(), root / f"{family}.pt")
    return {family: root / f"{family}.pt" for family in FAMILIES}


def of_family(recipe_dict: dict, family: str, method: str, weights: dict[str, Path], **train: object) -> Recipe:
    model = {"backbone": FAMILIES[family], "weights": str(weights[family]), "hidden": 8}
    return recipe_of(recipe_dict | {"model": model}, method, **train)


@pytest.mark.parametrize(("family", "method"), FAMILY_CASES)
def test_a_method_trains_on_a_family_or_says_why_not(family, method, recipe_dict, family_weights, tmp_path):
    recipe = of_family(recipe_dict, family, method, family_weights, steps=2)
    families, why = REFUSED.get(method, (set(), ""))
    if family in families:
        with pytest.raises(UserError, match=why):
            require_trainable(recipe, classes=3)
        return
    require_trainable(recipe, classes=3)
    training = engine._Run(recipe, tmp_path, CPU)
    classifier = {f"backbone.net.{path}" for path in training.network.backbone.spec.classifiers}
    start = {name: value.clone() for name, value in training.network.state_dict().items()}
    for batch in training._batches():
        training._train_step(batch)
    end = training.network.state_dict()
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert all(bool(value.isfinite().all()) for value in end.values())
    assert any(name.startswith("head.") for name in moved)
    assert any(name.startswith("backbone.") for name in moved) == (method != "oracle")
    assert not [name for name in moved if "running_" in name or name.rsplit(".", 1)[0] in classifier]
    pooled = {name for name in training.unlogged[-1] if name.startswith("stability_")}
    assert pooled == ({"stability_layer3", "stability_layer4"} if method.startswith("csg") else set())


@pytest.mark.parametrize("family", FAMILIES)
def test_csg_resumes_on_every_family(family, recipe_dict, family_weights, tmp_path, monkeypatch):
    recipe = of_family(recipe_dict, family, "csg", family_weights, steps=3)
    whole = load_checkpoint(run(recipe, tmp_path / "whole"))
    original = engine._Run._train_step

    def die(self, batch):
        if self.step == 2:
            raise KeyboardInterrupt
        original(self, batch)

    monkeypatch.setattr(engine._Run, "_train_step", die)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "parts")
    monkeypatch.setattr(engine._Run, "_train_step", original)
    parts = load_checkpoint(run(recipe, tmp_path / "parts", resume=True))
    for name in ("model", "method", "optimizer"):
        assert equal(getattr(parts, name), getattr(whole, name)), name


@pytest.mark.parametrize("family", FAMILIES)
def test_segmentation_keeps_the_resolution_or_is_refused(family, masked_recipe_dict, family_weights, tmp_path):
    if family == "dinov2":  # whose patches have 8 pixels
        masked_recipe_dict["segmentation"]["output_stride"] = 16
    recipe = of_family(masked_recipe_dict, family, "csg-dense", family_weights, steps=1)
    if family not in DILATED:
        with pytest.raises(UserError, match=r"model\.backbone: timm/.* cannot trade its strides for dilation"):
            require_trainable(recipe, classes=3)
        return
    require_trainable(recipe, classes=3)
    network = load_checkpoint(run(recipe, tmp_path)).build_network(CPU)
    with torch.no_grad():
        output = network(torch.rand(1, 3, 32, 40))
    assert output.logits.shape == (1, 3, 32, 40)
    assert output.stages["stage4"].shape[-2:] == output.stages["stage3"].shape[-2:] == (4, 5)


@pytest.mark.parametrize(("name", "stride", "depth"), [("test_vit", 16, 6), ("tiny_patch14", 14, 4)])
def test_a_vit_whose_patches_are_the_output_stride_predicts_masks(name, stride, depth, masked_recipe_dict, tmp_path):
    """The map is that of the plain network; whole pictures of other sizes are resized, and their masks are not."""
    sizes = {"source": (3 * stride, 4 * stride), "target": (2 * stride, 3 * stride)}
    rng = np.random.default_rng(5)
    for split, shape in sizes.items():
        for index in range(4):
            for folder, high, more in (("images", 256, (3,)), ("masks", 3, ())):
                path = tmp_path / split / folder / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, high, (*shape, *more), dtype=np.uint8)).save(path)
        (tmp_path / split / "classes.txt").write_text("a\nb\nc")
        masked_recipe_dict["data"][split] = {"dataset": "masked-folder", "root": str(tmp_path / split)}
    masked_recipe_dict["model"] = {"backbone": f"timm/{name}", "weights": "none"}
    masked_recipe_dict["segmentation"]["output_stride"] = stride
    masked_recipe_dict["data"]["size"] = 2 * stride
    for method in ("oracle", "csg-dense"):
        recipe = recipe_of(masked_recipe_dict, method, steps=1)
        require_ready(recipe, load_splits(recipe))
        network = load_checkpoint(run(recipe, tmp_path / method)).build_network(CPU)
        picture = torch.rand(1, 3, *sizes["target"])
        with torch.no_grad():
            output = network(picture)
            tokens = network.backbone.net.forward_intermediates(
                network.backbone.normalise(picture), indices=[depth - 1], norm=False
            )
        assert output.logits.shape == (1, 3, *sizes["target"])
        torch.testing.assert_close(output.stages["layer4"], tokens[1][0])
    image = Image.open(tmp_path / "target" / "images" / "0.png").resize((4 * stride + 5, 2 * stride - 3))
    image.save(tmp_path / "target" / "images" / "3.png")
    Image.new("L", image.size, 1).save(tmp_path / "target" / "masks" / "3.png")
    require_ready(recipe, sets := load_splits(recipe))
    *_, (predicted_HW, mask_HW) = network_masks(network, sets["target"], recipe)
    nearest = np.asarray(image.resize((4 * stride, 2 * stride), Image.Resampling.BILINEAR))
    with torch.no_grad():
        logits = network(torch.from_numpy(nearest.copy()).permute(2, 0, 1)[None]).logits
    expected = F.interpolate(logits, size=mask_HW.shape, mode="bilinear", align_corners=True)[0].argmax(dim=0)
    assert mask_HW.shape == (2 * stride - 3, 4 * stride + 5)
    assert torch.equal(predicted_HW, expected.to(torch.uint8))


@pytest.mark.parametrize("name", ["narrow", "tf_efficientnet_lite0", "timm/test_resnet", "timm/test_vit"])
def test_an_output_stride_of_14_is_for_patches_of_14(name, masked_recipe_dict):
    masked_recipe_dict["model"] = {"backbone": name, "weights": "none"}
    masked_recipe_dict["segmentation"]["output_stride"] = 14
    with pytest.raises(UserError, match=r"segmentation.output_stride: 14 is for a ViT with patches of 14 pixels; use"):
        require_trainable(recipe_of(masked_recipe_dict, "oracle", steps=1), classes=3)


def test_a_name_of_torchvision_trains_and_is_no_network_for_segmentation(recipe_dict, masked_recipe_dict, tmp_path):
    model = {"model": {"backbone": "shufflenet_v2_x0_5", "weights": "none", "hidden": 8}}
    csg = recipe_of(recipe_dict | model, "csg", steps=2)
    require_trainable(csg, classes=3)
    network = load_checkpoint(run(csg, tmp_path)).build_network(CPU)
    assert network.backbone.widths["layer4"] == 1024
    assert {"stability_layer3", "stability_layer4"} < set(read_log(tmp_path / "log.jsonl")[0][1])
    for recipe, words in (
        (recipe_of(masked_recipe_dict | model, "csg-dense", steps=1), "cannot trade its strides for dilation"),
        (recipe_of(recipe_dict | model, "ibn-net", steps=1), "not defined for ShuffleNetV2 of torchvision"),
    ):
        with pytest.raises(UserError, match=words):
            require_trainable(recipe, classes=3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own tracing; it hides it from users
def test_tokens_become_maps_in_compiled_and_bfloat16_networks(recipe_dict, family_weights, tmp_path, monkeypatch):
    """Stages are read by hooks, behind whatever was compiled."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    ways = {"plain": {}, "compiled": {"compile": True}, "bfloat16": {"precision": "bfloat16"}}
    losses = {}
    for name, changed in ways.items():
        run(of_family(recipe_dict, "dinov2", "csg", family_weights, steps=1, **changed), tmp_path / name)
        losses[name] = read_log(tmp_path / name / "log.jsonl")[0][1]
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-4)
    assert losses["bfloat16"]["ce"] == pytest.approx(losses["plain"]["ce"], rel=0.05)
    assert losses["bfloat16"]["ce"] != losses["plain"]["ce"]
