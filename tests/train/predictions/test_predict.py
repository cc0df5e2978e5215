"""``csg-train predict``: the accuracy command's classes, the evaluation's masks, and broken files named."""

import csv
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from csg_train.data.check.colours import class_colours
from csg_train.data.readers.masks import decode_mask
from csg_train.data.views.transforms import evaluation_view
from csg_train.evaluate.segmentation import network_masks
from csg_train.files import sha256_file
from csg_train.predictions import classes, masks
from csg_train.predictions.classes import predicted_classes
from csg_train.predictions.found import find_pictures
from csg_train.recipes.pictures import load_split
from csg_train.runs.checkpoint import load_checkpoint
from tests.commands import assert_user_error, command
from tests.conftest import CLASSES
from tests.train.data.test_transforms import picture
from tests.train.untrained import write_untrained

ORDER = ("truck", "bus", "car")
"""Not the order of the alphabet, in which folders are listed."""


@pytest.fixture
def checkpoint(recipe_dict, tmp_path) -> Path:
    return write_untrained(tmp_path / "run" / "ckpt.pt", recipe_dict, ORDER)


@pytest.fixture
def masked_checkpoint(masked_recipe_dict, tmp_path) -> Path:
    return write_untrained(tmp_path / "run" / "ckpt.pt", masked_recipe_dict, ORDER)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_classes_are_those_that_the_accuracy_counts(checkpoint, trees, tmp_path):
    result = command("csg-train", "predict", checkpoint, trees / "target", "--top", "3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "9 pictures: predictions.csv" in result.stdout
    rows = table(tmp_path / "predictions.csv")
    confusion = np.zeros((3, 3), dtype=int)
    for row in rows:
        confusion[ORDER.index(Path(row["path"]).parent.name), ORDER.index(row["class"])] += 1
    assert command("csg-analyze", "accuracy", checkpoint, "--split", "target", cwd=tmp_path).returncode == 0
    record = json.loads((checkpoint.parent / "accuracy-target.json").read_text())
    assert record["classes"] == list(ORDER)
    assert confusion.tolist() == record["confusion"]
    assert (confusion.sum(axis=0) > 0).sum() > 1, "more than one class is predicted"
    assert [row["path"] for row in rows] == sorted(str(path) for path in (trees / "target").rglob("*.png"))
    for row in rows:
        assert {row["class"], row["class_2"], row["class_3"]} == set(ORDER)
        assert sum(float(row[name]) for name in ("probability", "probability_2", "probability_3")) == pytest.approx(
            1, abs=3e-6
        )


def test_a_probability_is_the_softmax_of_both_views_by_hand(checkpoint, tmp_path):
    """Of a picture that has the input's size, so that nothing is scaled."""
    pixels = np.random.default_rng(4).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    network = load_checkpoint(checkpoint).build_network(torch.device("cpu"))
    for flip, views in (("false", [pixels]), ("true", [pixels, pixels[:, ::-1]])):
        options = ("--out", "one.jsonl", "--set", f"evaluate.flip={flip}")
        result = command("csg-train", "predict", checkpoint, "one.png", *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        images = torch.from_numpy(np.stack(views).copy()).permute(0, 3, 1, 2)
        with torch.no_grad():
            logits = network(images).logits.double()
        label = int(torch.sigmoid(logits).sum(dim=0).argmax())
        share = float((logits.exp() / logits.exp().sum(dim=1, keepdim=True)).mean(dim=0)[label])
        found = json.loads((tmp_path / "one.jsonl").read_text())
        assert found == {"path": "one.png", "class": ORDER[label], "probability": pytest.approx(share, abs=2e-6)}
        defined = json.loads((tmp_path / "one.jsonl.json").read_text())
        assert defined["shown"] == {"fit": "crop", "flip": flip == "true", "shorter_side": None, "size": 32}
        assert defined["run"]["checkpoint_sha256"] == load_checkpoint(checkpoint).sha256


def test_neither_batches_nor_workers_change_a_row(checkpoint, trees, tmp_path):
    tables = []
    for size, workers in ((1, 0), (9, 0), (2, 2)):
        sets = ("--set", f"train.batch_size={size}", "--set", f"train.workers={workers}")
        result = command("csg-train", "predict", checkpoint, trees / "target", *sets, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        tables.append(table(tmp_path / "predictions.csv"))
    for other in tables[1:]:
        for one, two in zip(tables[0], other, strict=True):
            assert (one["path"], one["class"]) == (two["path"], two["class"])
            assert float(one["probability"]) == pytest.approx(float(two["probability"]), abs=2e-6)


def test_pictures_are_read_as_they_are_needed(checkpoint, trees, monkeypatch):
    saved = load_checkpoint(checkpoint)
    found = find_pictures([trees / "source"], saved.classes)
    read, one = [], type(found.images).read
    monkeypatch.setattr(type(found.images), "read", lambda images, index: read.append(index) or one(images, index))
    rows = predicted_classes(saved.build_network(torch.device("cpu")), found.images, saved.resolved_recipe(), top=1)
    next(rows)
    assert read == [0, 1, 2, 3, 4], "a batch, and no more"


def test_files_and_folders_with_any_names_and_what_was_left_out(checkpoint, trees, tmp_path):
    name = 'a, "b" [c]\u00e9.png'
    (tmp_path / "own" / "deep").mkdir(parents=True)
    shutil.copy(trees / "target" / "bus" / "0.png", tmp_path / "own" / "deep" / name)
    shutil.copy(trees / "target" / "bus" / "1.png", tmp_path / "picture")
    (tmp_path / "own" / "notes.txt").write_text("no picture")
    result = command("csg-train", "predict", checkpoint, "own", "picture", "--out", "t.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [row["path"] for row in table(tmp_path / "t.csv")] == [f"own/deep/{name}", "picture"]
    assert "left out: 1 of type .txt (notes.txt)" in result.stdout


def test_a_broken_picture_stops_it_and_nothing_is_written(checkpoint, trees, tmp_path):
    shutil.copytree(trees / "target", tmp_path / "own")
    (tmp_path / "own" / "car" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (tmp_path / "t.csv").write_text("as it was")
    result = command("csg-train", "predict", checkpoint, "own", "--out", "t.csv", cwd=tmp_path)
    assert_user_error(result, "own/car/0.png", "--skip-broken")
    assert (tmp_path / "t.csv").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"own", "run", "t.csv"}
    (tmp_path / "own" / "car" / "1.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    result = command("csg-train", "predict", checkpoint, "own", "--out", "t.csv", "--skip-broken", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "7 pictures, 2 broken ones skipped" in result.stdout
    assert "skipped: own/car/1.png: cannot decode (a git-lfs pointer" in result.stdout
    assert not {"own/car/0.png", "own/car/1.png"} & {row["path"] for row in table(tmp_path / "t.csv")}
    defined = json.loads((tmp_path / "t.csv.json").read_text())
    assert (defined["count"], [one["path"] for one in defined["skipped"]]) == (7, ["own/car/0.png", "own/car/1.png"])
    assert defined["table_sha256"] == sha256_file(tmp_path / "t.csv")
    result = command("csg-train", "predict", checkpoint, "own/car/0.png", "--skip-broken", cwd=tmp_path)
    assert_user_error(result, "not one of 1 pictures", "own/car/0.png")
    assert not (tmp_path / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("nowhere",), ("nowhere", "no such file or folder")),
        (("run",), ("run: no pictures", "ckpt.pt")),
        (("{trees}/target", "--out", "t.txt"), ("--out t.txt", ".csv or .jsonl")),
        (("{trees}/target", "--out", "run/own.csv"), ("--out run/own.csv: a folder",)),
        (("{trees}/target", "--top", "4"), ("--top 4", "3 classes")),
        (("{trees}/target", "--set", "train.batch_size=0"), ("train.batch_size",)),
    ],
)
def test_mistakes(words, parts, checkpoint, trees, tmp_path):
    words = [word.replace("{trees}", str(trees)) for word in words]
    (tmp_path / "run" / "own.csv").mkdir()
    assert_user_error(command("csg-train", "predict", checkpoint, *words, cwd=tmp_path), *parts)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_masks_are_those_that_the_evaluation_counts(masked_checkpoint, masked_tree, tmp_path):
    pictures = masked_tree / "images"
    result = command("csg-train", "predict", masked_checkpoint, pictures, "--out", "o/t.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "masks in o/t" in result.stdout
    saved = load_checkpoint(masked_checkpoint)
    recipe = saved.resolved_recipe()
    images = load_split(recipe.data, "target", ORDER)
    expected = network_masks(saved.build_network(torch.device("cpu")), images, recipe)
    rows = table(tmp_path / "o" / "t.csv")
    seen = set()
    for number, ((mask, _), row) in enumerate(zip(expected, rows, strict=True)):
        mask_HW = mask.numpy()
        path = tmp_path / "o" / row["mask"]
        assert path == tmp_path / "o" / "t" / f"{number}.png"
        assert np.array_equal(decode_mask(path, {0: 0, 1: 1, 2: 2}), mask_HW)
        with Image.open(path) as image:
            assert image.mode == "P"
            assert tuple(image.getpalette()[:9]) == tuple(value for colour in class_colours(ORDER) for value in colour)
        for label, name in enumerate(ORDER):
            assert float(row[f"share_{name}"]) == pytest.approx((mask_HW == label).mean(), abs=1e-6)
        seen |= set(np.unique(mask_HW))
    assert len(seen) > 1, "more than one class is predicted"


def test_masks_that_cannot_all_be_written_are_not_written(masked_checkpoint, masked_tree, tmp_path):
    run = ("csg-train", "predict", masked_checkpoint)
    shutil.copytree(masked_tree / "images", tmp_path / "own")
    (tmp_path / "own" / "5.png").write_bytes(b"rubbish")
    assert_user_error(command(*run, "own", "--out", "t.csv", cwd=tmp_path), "own/5.png", "--skip-broken")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "own"}
    result = command(*run, "own", "own/5.png", "--out", "t.csv", cwd=tmp_path)
    assert_user_error(result, "own/5.png and own/5.png", "the same mask, 5.png")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine").write_text("")
    assert_user_error(command(*run, "own", "--out", "t.csv", cwd=tmp_path), "t: not an empty folder", "--out")
    assert_user_error(command(*run, "own", "--out", "own/t.csv", cwd=tmp_path), "--out own/t: in own", "the next call")
    assert_user_error(command(*run, "own", "--top", "2", cwd=tmp_path), "--top 2", "a segmentation")
    result = command(*run, "own", "--out", "n.csv", "--skip-broken", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "n").iterdir())) == len(table(tmp_path / "n.csv")) == 5


def test_a_mask_where_another_picture_has_a_folder_is_refused(masked_checkpoint, masked_tree, tmp_path):
    (tmp_path / "own" / "a.png").mkdir(parents=True)
    Image.open(masked_tree / "images" / "0.png").convert("RGB").save(tmp_path / "own" / "a.jpg")
    shutil.copy(masked_tree / "images" / "1.png", tmp_path / "own" / "a.png" / "b.png")
    result = command("csg-train", "predict", masked_checkpoint, "own", "--out", "t.csv", cwd=tmp_path)
    assert_user_error(result, "own/a.jpg and own/a.png/b.png would have masks at a.png and below it")


def test_masks_do_not_come_among_the_recipe_s_own_pictures(masked_checkpoint, masked_tree, tmp_path):
    out = masked_tree / "images" / "new.csv"
    shutil.copytree(masked_tree / "images", tmp_path / "own")
    result = command("csg-train", "predict", masked_checkpoint, "own", "--out", out, cwd=tmp_path)
    assert_user_error(result, f"{out.with_suffix('')}: in {masked_tree / 'images'}, from which data.source reads")
    assert not out.exists()


def test_without_its_definition_no_table_and_no_mask_is_kept(masked_checkpoint, masked_tree, tmp_path):
    (tmp_path / "t.csv.json").mkdir()
    shutil.copytree(masked_tree / "images", tmp_path / "own")
    result = command("csg-train", "predict", masked_checkpoint, "own", "--out", "t.csv", cwd=tmp_path)
    assert_user_error(result, "t.csv.json: cannot write")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "own", "t.csv.json"}


def test_the_classes_of_the_tests_are_out_of_order():
    assert sorted(ORDER) == list(CLASSES) != list(ORDER)


def test_the_class_is_that_of_the_largest_mean_sigmoid_though_the_mean_logit_says_another(monkeypatch):
    """Logits 10 and -1 against 3 and 3: the means are 4.5 and 3, those of the sigmoids 0.634 and 0.953."""
    logits_VNC = torch.tensor([[[10.0, 3.0]], [[-1.0, 3.0]]])
    monkeypatch.setattr(classes, "logits_of_views", lambda *_, **__: logits_VNC)
    recipe = SimpleNamespace(evaluate=SimpleNamespace(flip=True))
    (row,) = classes._rows(torch.nn.Identity(), torch.zeros(1), ("a", "b"), recipe, 2)
    share = (1 / (1 + math.exp(-7)) + 1 / (1 + math.exp(4))) / 2
    assert row == {
        "class": "b",
        "probability": pytest.approx(1 - share, abs=1e-6),
        "class_2": "a",
        "probability_2": pytest.approx(share, abs=1e-6),
    }


def test_pictures_are_reduced_as_the_recipe_says(checkpoint, tmp_path):
    """To a shorter side of 16 pixels before they are enlarged to the input's: other pixels, another probability."""
    picture(64, 64).save(tmp_path / "one.png")
    found = []
    for side in ("null", "16"):
        options = ("--out", f"{side}.csv", "--set", f"data.shorter_side={side}")
        assert command("csg-train", "predict", checkpoint, "one.png", *options, cwd=tmp_path).returncode == 0
        found.append(table(tmp_path / f"{side}.csv")[0]["probability"])
    assert found[0] != found[1]


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_pictures_are_fitted_as_the_recipe_says(fit):
    image = picture(80, 40)
    recipe = SimpleNamespace(data=SimpleNamespace(size=32, fit=fit))
    shown = classes._Views(SimpleNamespace(read=lambda index: image), recipe)[0]
    assert torch.equal(shown, evaluation_view(image, size=32, fit=fit))


@pytest.mark.parametrize(("cap", "shown"), [(20, (10, 20)), (None, (40, 80))])
def test_masks_are_predicted_from_pictures_no_longer_than_the_recipe_says_at_their_own_size(
    cap, shown, monkeypatch, tmp_path
):
    picture(80, 40).save(tmp_path / "a.png")
    seen = []

    def predicted(_logits, view_13HW, *, size, device):
        seen.append(tuple(view_13HW.shape[2:]))
        return torch.zeros(size, dtype=torch.uint8, device=device)

    monkeypatch.setattr(masks, "logits_of", lambda *_: None)
    monkeypatch.setattr(masks, "predicted_mask", predicted)
    recipe = SimpleNamespace(segmentation=SimpleNamespace(longest_side=cap), train=SimpleNamespace(workers=0))
    found = find_pictures([tmp_path / "a.png"], ("background", "car"))
    network = torch.nn.Linear(1, 1)
    network.backbone = SimpleNamespace(spec=SimpleNamespace(grid=1))
    (row,) = masks.predicted_classes_of_pixels(network, found, recipe, folder=tmp_path / "masks", shown="masks")
    assert seen == [shown]
    with Image.open(tmp_path / "masks/a.png") as mask:
        assert mask.size == (80, 40)
    assert row == {"mask": "masks/a.png", "share_background": 1.0, "share_car": 0.0}
