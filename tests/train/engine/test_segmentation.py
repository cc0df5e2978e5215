"""Segmentation as a user runs it: recipes, the run, its record, selection, and what a method may not be asked."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from csg_train.data.loaders.segmentation_loader import whole_pictures
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import IGNORE, picture_and_mask
from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.evaluate.either import measure
from csg_train.evaluate.segmentation import predicted_masks
from csg_train.methods.contrastive import attention, attention_pool, info_nce
from csg_train.methods.pixels import pixel_cross_entropy, task_loss
from csg_train.recipes.packaged import RECIPES
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.ready import require_trainable
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.commands import command
from tests.train.methods.test_methods import CPU, recipe_of, run

METHODS = ("baseline", "ibn-net", "domain-randomization", "asg", "csg")


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("method", METHODS)
def test_recipes_resolve_to_the_published_figures(depth, method):
    recipe = load_recipe(f"gta5-resnet{depth}-{method}")
    train, segmentation = recipe.train, recipe.segmentation
    assert (recipe.name, recipe.model.backbone) == (f"gta5-resnet{depth}-{method}", f"resnet{depth}")
    assert (train.steps, train.batch_size, train.lr_head, train.lr_backbone) == (100_000, 6, 1e-3, 1e-4)
    assert (train.momentum, train.weight_decay, train.warmup, train.power, train.sgd) == (0.9, 5e-4, 100, 0.9, "caffe")
    assert (recipe.data.size, segmentation.scale, segmentation.output_stride) == (512, (0.75, 1.25), 8)
    assert (segmentation.affine, recipe.model.batch_norm, segmentation.longest_side) == ("frozen", "frozen", None)
    assert (segmentation.jitter, segmentation.padding) == ("picture", "mean")
    assert train.decay_until == (0.8 if method == "asg" else 1.0)
    assert recipe.method["name"] == method
    expected = {
        "asg": {"weight": 75.0},
        "csg": {"weight": 75.0, "patches": 8, "queue_size": 65536, "temperature": 0.07},
    }
    assert recipe.method.items() >= expected.get(method, {}).items()


def gta5_and_cityscapes(root):
    """Two pairs of each in the official layouts, 64 x 128 pixels."""
    rng = np.random.default_rng(0)
    for index in range(2):
        raw = np.repeat(rng.choice([7, 11, 21, 26, 0], (64, 4)).astype(np.uint8), 32, axis=1)
        picture = Image.fromarray(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8))
        label = Image.fromarray(raw, mode="P")
        label.putpalette(list(range(256)) * 3)
        name = f"ulm/ulm_{index:06d}_000019"
        for image, path in (
            (picture, f"gta5/images/{index:05d}.png"),
            (label, f"gta5/labels/{index:05d}.png"),
            (picture, f"cityscapes/leftImg8bit/val/{name}_leftImg8bit.png"),
            (Image.fromarray(raw), f"cityscapes/gtFine/val/{name}_gtFine_labelIds.png"),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(root / path)
    return root


@pytest.mark.parametrize("method", METHODS)
def test_recipes_run_on_small_trees_in_the_exact_layouts(method, weights, tmp_path):
    root = gta5_and_cityscapes(tmp_path)
    fields = {
        "data.source.root": root / "gta5",
        "data.target.root": root / "cityscapes",
        "data.size": 64,
        "model.backbone": "narrow",
        "model.weights": weights,
        "train.steps": 2,
        "train.batch_size": 2,
    }
    fields |= {"csg": {"method.queue_size": 200}, "ibn-net": {"method.start": "plain"}}.get(method, {})
    if method == "domain-randomization":
        fields |= {"method.styles": root / "gta5" / "images"}
    overrides = [part for key, value in fields.items() for part in ("--set", f"{key}={value}")]
    result = command("csg-train", "run", f"gta5-resnet50-{method}", *overrides, "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mean IoU %" in result.stdout
    record = json.loads((tmp_path / "run" / "segmentation-target.json").read_text())
    assert len(record["classes"]) == 19
    assert record["data"]["count"] == 2
    assert (record["data"]["size"], record["data"]["fit"], record["run"]["selection"]) == (None, "whole", "last")
    assert record["per_class"][record["classes"].index("rider")] in (None, 0.0)


def test_record_equals_scikit_learns_count_of_the_checkpoints_predictions(masked_recipe_dict, masked_tree, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(masked_recipe_dict))
    result = command("csg-train", "run", "tiny.yaml", "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "run" / "segmentation-target.json").read_text())
    network = load_checkpoint(tmp_path / "run" / "ckpt.pt").build_network(CPU)
    images = masked_folder(masked_tree)
    pairs = list(predicted_masks(lambda x: network(x).logits, whole_pictures(images, longest_side=None), CPU))
    predicted, true = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    predicted, true = predicted[true != IGNORE], true[true != IGNORE]
    assert record["confusion"] == confusion_matrix(true, predicted, labels=[0, 1, 2]).tolist()
    assert record["mean_iou"] == pytest.approx(jaccard_score(true, predicted, average="macro", labels=[0, 1, 2]))
    assert record["overall"] == pytest.approx((true == predicted).mean())
    table = next(line for line in result.stdout.splitlines() if "target" in line)
    assert f"{100 * record['mean_iou']:.1f}" in table


@pytest.mark.parametrize("head", ["deeplab-v2", "deeplab-v3"])
def test_measured_in_tiles_it_is_the_same_number(masked_recipe_dict, tmp_path, head):
    masked_recipe_dict["segmentation"] = {"head": head}
    saved = load_checkpoint(run(Recipe.model_validate(masked_recipe_dict), tmp_path / "run"))
    network = saved.build_network(CPU)
    records = []
    for overrides in ((), ("segmentation.tile=16",)):
        recipe = saved.resolved_recipe(overrides)
        images = load_split(recipe.data, "target", saved.classes)
        records.append(measure(saved, network, images, split="target", recipe=recipe))
    assert records[0] == records[1]


@pytest.mark.parametrize("patches", [1, 2])
def test_dense_terms_from_their_definition(masked_recipe_dict, tmp_path, patches):
    """Each patch cut out by hand, contrasted with the teacher's patch of the same place; 1 patch is the whole map."""
    method = {"name": "csg", "patches": patches, "queue_size": 9, "dim": 4, "temperature": 1, "weight": 2}
    trained = engine._Run(Recipe.model_validate(masked_recipe_dict | {"method": method}), tmp_path, CPU)
    batch = next(trained._batches()).to(CPU)
    trained.network.set_training(batch_norm="frozen")
    with torch.no_grad():
        for weight in trained.network.backbone.net.layer4.parameters():
            weight.mul_(1.1)
        output = trained.network(batch.views[0])
        terms = trained.method.loss(trained.network, batch, output)
        student, teacher = (
            trained.network.backbone(batch.views[1]).stages,
            trained.method.teacher(batch.views[1]).stages,
        )
    for layer in ("layer3", "layer4"):
        queries, keys = [], []
        side = student[layer].shape[-1] // patches
        for picture in range(len(batch.labels)):
            for row in range(patches):
                for column in range(patches):
                    cut = np.s_[picture : picture + 1, :, row * side :, column * side :]
                    maps = [part[layer][cut][..., :side, :side] for part in (output.stages, teacher, student)]
                    queries.append(attention_pool(maps[0], attention(maps[0])))
                    keys.append(attention_pool(maps[1], attention(maps[2])))
        heads, averaged = trained.method.heads[layer], trained.method.teacher_heads[layer]
        z, key = (
            torch.nn.functional.normalize(head(torch.cat(rows)), dim=1)
            for head, rows in ((heads, queries), (averaged, keys))
        )
        expected = 2 * info_nce(z, key, trained.method.queues[layer].keys_KD, temperature=1)
        torch.testing.assert_close(terms[f"nce_{layer}"], expected.detach(), rtol=1e-4, atol=1e-6)
        assert len(z) == len(batch.labels) * patches**2


def test_a_run_goes_on_with_the_styles_that_it_began_with(masked_recipe_dict, masked_tree, tmp_path):
    """Other pictures took their place without a word."""
    styles = shutil.copytree(masked_tree / "images", tmp_path / "styles")
    recipe = recipe_of(masked_recipe_dict, "domain-randomization")
    recipe.method.update(styles=str(styles))
    path = run(recipe, tmp_path / "run")
    saved = load_checkpoint(path)
    old = replace(saved, data={name: value for name, value in saved.data.items() if name != "styles_identity"})
    (styles / "0.png").unlink()
    with pytest.raises(UserError, match=r"style pictures changed since, .*styles_identity"):
        run(recipe, tmp_path / "run", resume=True)
    save_checkpoint(path, old)  # of a version that did not look
    run(recipe, tmp_path / "run", resume=True)


@pytest.mark.parametrize(("first", "over_styles", "share"), [("plain", "mean", 0.5), ("styled", "sum", 1)])
def test_domain_randomization_joins_the_losses_of_the_looks(first, over_styles, share, masked_recipe_dict, tmp_path):
    recipe = recipe_of(masked_recipe_dict, "domain-randomization")
    recipe.method.update(first=first, over_styles=over_styles)
    plain = engine._Run(recipe_of(masked_recipe_dict, "baseline"), tmp_path / "plain", CPU)
    trained = engine._Run(recipe, tmp_path, CPU)
    batch = next(trained._batches()).to(CPU)
    assert len(batch.views) == 2
    assert not torch.equal(*batch.views)  # two looks of one crop
    assert torch.equal(batch.views[0], next(plain._batches()).views[0]) == (first == "plain")
    trained.network.set_training(batch_norm="frozen")
    with torch.no_grad():
        outputs = [trained.network(view) for view in batch.views]
        terms = trained.method.loss(trained.network, batch, outputs[0])
    first, second = (pixel_cross_entropy(output.logits, batch.labels) for output in outputs)
    torch.testing.assert_close(first + terms["ce_styles"], share * (first + second))
    a, b = (output.stages["layer4"] for output in outputs)
    coarse = (a.mean(dim=(2, 3)) - b.mean(dim=(2, 3))).abs().mean() / 2
    fine = sum(
        (a[..., r : r + 2, c : c + 2].mean(dim=(2, 3)) - b[..., r : r + 2, c : c + 2].mean(dim=(2, 3))).abs().mean() / 2
        for r in (0, 2)
        for c in (0, 2)
    )
    torch.testing.assert_close(terms["consistency"], recipe.method["weight"] * (coarse + fine / 4) / 2)


def test_task_loss_of_pictures_and_of_pixels():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(task_loss(logits, labels), torch.nn.functional.cross_entropy(logits, labels))
    whole = logits[:, :, None, None].expand(-1, -1, 2, 5)
    masks = labels[:, None, None].expand(-1, 2, 5)
    torch.testing.assert_close(task_loss(whole, masks), torch.nn.functional.cross_entropy(logits, labels))


def test_selection_measures_the_mean_iou(masked_recipe_dict, masked_tree, tmp_path):
    held_out = masked_tree.with_name("held-out")
    masked_recipe_dict["data"]["validation"] = {"dataset": "masked-folder", "root": str(held_out)}
    masked_recipe_dict["evaluate"] = {"select": "source-val", "select_every": 2}
    chosen = load_checkpoint(run(Recipe.model_validate(masked_recipe_dict), tmp_path / "run"))
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    measured = {row["step"]: row["accuracy_validation"] for row in rows if "accuracy_validation" in row}
    assert list(measured) == [2, 4, 5]
    assert chosen.step == max(measured, key=measured.get)
    network = chosen.build_network(CPU)
    images = masked_folder(masked_tree)
    pairs = list(predicted_masks(lambda x: network(x).logits, whole_pictures(images, longest_side=None), CPU))
    predicted, true = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    keep = true != IGNORE
    iou = jaccard_score(true[keep], predicted[keep], average="macro", labels=[0, 1, 2])
    assert chosen.best_score == pytest.approx(iou)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": None}, "data.source: masked-folder has masks; add a section segmentation"),
        ({"data": {"sampling": "balanced"}}, "data.sampling: balanced draws by the class of a picture"),
        ({"data": {"shorter_side": 32}}, "data.shorter_side: reduces pictures and no masks"),
    ],
)
def test_recipes_of_no_single_task_are_one_line(masked_recipe_dict, change, message):
    data = masked_recipe_dict["data"] | change.pop("data", {})
    with pytest.raises(ValueError, match=re.escape(message)):
        Recipe.model_validate(masked_recipe_dict | {"data": data} | change)


def test_restyling_pictures_of_a_classification_is_refused(recipe_dict, trees):
    recipe_dict["method"] = {"name": "domain-randomization", "styles": str(trees / "target")}
    with pytest.raises(UserError, match="domain-randomization: restyles crops of a segmentation"):
        require_trainable(Recipe.model_validate(recipe_dict), classes=3)


def test_every_packaged_recipe_of_segmentation_says_so():
    masked = [path.stem for path in RECIPES.glob("*.yaml") if load_recipe(path.stem).segmentation is not None]
    assert {name.split("-")[0] for name in masked if name != "render-scenes"} == {"gta5", "scenes"}
    assert "render-scenes" in masked


def test_a_mask_of_another_size_stops_the_run_with_one_line(masked_recipe_dict, masked_tree, tmp_path):
    picture, mask_HW = picture_and_mask(masked_folder(masked_tree), 0)
    for folder, image in (("images", picture), ("masks", Image.fromarray(mask_HW[:-1]))):
        (tmp_path / "own" / folder).mkdir(parents=True)
        image.save(tmp_path / "own" / folder / "0.png")
    (tmp_path / "own" / "classes.txt").write_text("bus\ncar\ntruck")
    masked_recipe_dict["data"]["source"] = {"dataset": "masked-folder", "root": str(tmp_path / "own")}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(masked_recipe_dict))
    result = command("csg-train", "run", "own.yaml", cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "images/0.png" in result.stderr
