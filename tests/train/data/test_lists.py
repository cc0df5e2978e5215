"""VisDA-17 and CSV manifests: a small tree in the exact layout, hand-written lists, and each recipe run on it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check.pictures import check_pictures
from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.lists import VISDA_CLASSES, VISDA_COUNTS, manifest, visda17
from csg_train.errors import UserError
from csg_train.recipes.reading import load_recipe
from tests.commands import command

TABLE_1 = ("oracle", "baseline", "weight-l2", "ewc", "si", "feature-l2", "asg", "csg")


@pytest.fixture(scope="module")
def visda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures a class in ``train`` and ``validation``, lists in another order than the folders."""
    root = tmp_path_factory.mktemp("visda")
    rng = np.random.default_rng(0)
    for split, name in (("train", "{c}/{c}__{i}_0_0_0.png"), ("validation", "{c}/{i}.jpg")):
        lines = []
        for label, class_name in reversed(list(enumerate(VISDA_CLASSES))):
            for index in range(2):
                file = root / split / name.format(c=class_name, i=index)
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(file)
                lines.append(f"{file.relative_to(root / split).as_posix()} {label}")
        (root / split / "image_list.txt").write_text("\n".join(lines) + "\n")
    return root


def test_official_totals():
    """152,397, 55,388 and 72,372 pictures (methods.md 1.1)."""
    assert {split: sum(counts) for split, counts in VISDA_COUNTS.items()} == {
        "train": 152397,
        "validation": 55388,
        "test": 72372,
    }


def test_visda_lists_are_read_in_their_order_and_counted_against_the_official(visda):
    images = visda17(visda, "train")
    assert images.files[:2] == ("truck/truck__0_0_0_0.png", "truck/truck__1_0_0_0.png")
    assert images.labels[:3] == (11, 11, 10)
    lines = list(check_pictures(images).lines())
    assert any("official counts" in line and "aeroplane has 2, not 14309" in line for line in lines)
    exact = ImageSet("x", images.root, images.files, images.labels, VISDA_CLASSES, expected=(2,) * 12)
    assert "official counts: all agree" in list(check_pictures(exact).lines())


def test_a_visda_path_may_hold_blanks(tmp_path):
    path = tmp_path / "train" / "crops" / "potted plant 1.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "train" / "image_list.txt").write_text("  crops/potted plant 1.png  8 \n")
    images = visda17(tmp_path, "train")
    assert (images.files, images.labels) == (("crops/potted plant 1.png",), (8,))


@pytest.mark.parametrize(
    "line",
    [
        "a.png",
        "a.png 12",
        "a.png -1",
        "a.png x",
        "a.png 1 x",
        "../a.png 1",
        "/a.png 1",
        "bicycle/a.png 2",
        "./fine.png 4",  # the first line's
    ],
)
def test_a_bad_line_is_named(line, tmp_path):
    path = tmp_path / "train" / "image_list.txt"
    path.parent.mkdir()
    path.write_text(f"fine.png 3\n{line}\n")
    with pytest.raises(UserError, match=r"image_list\.txt:2: "):
        visda17(tmp_path, "train")
    path.write_text("\n")
    with pytest.raises(UserError, match=r"image_list\.txt: an empty list"):
        visda17(tmp_path, "train")


@pytest.mark.parametrize("method", TABLE_1)
def test_each_visda_recipe_runs_on_the_exact_layout(method, visda, weights, tmp_path):
    sets = [
        f"data.source.root={visda}",
        f"data.target.root={visda}",
        "data.size=32",
        "model.backbone=narrow",
        f"model.weights={weights}",
        "train.steps=2",
        "train.batch_size=4",
    ]
    sets += {"csg": ["method.queue_size=6"], "ewc": ["method.samples=3"]}.get(method, [])
    arguments = [part for value in sets for part in ("--set", value)]
    result = command("csg-train", "run", f"visda17-resnet101-{method}", *arguments, "--out", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "accuracy-target.json").exists()


@pytest.mark.parametrize("method", TABLE_1)
def test_visda_recipes_resolve_to_the_published_figures(method):
    recipe = load_recipe(f"visda17-resnet101-{method}")
    assert recipe.method["name"] == method
    train = recipe.train
    assert (train.steps, train.batch_size, train.lr_head, train.lr_backbone) == (142860, 32, 1e-4, 1e-5)
    assert (train.momentum, train.weight_decay, train.warmup, train.power) == (0.9, 5e-4, 100, 0.9)
    assert (recipe.model.backbone, recipe.model.batch_norm, recipe.data.size) == ("resnet101", "frozen", 224)
    assert train.steps == 30 * (152397 // 32)
    assert (train.sgd, recipe.evaluate.select, recipe.evaluate.select_every) == ("caffe", "last", train.steps // 30)


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


def test_manifest_sorts_classes_or_takes_the_sources(tmp_path):
    rows = [["label", "path", "note"], ["car", "b.png", "x, y"], ["bus", "sub/a.png", ""]]
    file = write_csv(tmp_path / "m.csv", rows)
    images = manifest(tmp_path, file, name="m")
    assert (images.classes, images.files, images.labels) == (("bus", "car"), ("b.png", "sub/a.png"), (1, 0))
    assert manifest(tmp_path, file, name="m", classes=("car", "bus")).labels == (0, 1)


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([["path"], ["a.png"]], "no column label"),
        ([["path", "label"], ["a.png", ""]], "m.csv:2: no path or no label"),
        ([["path", "label"], ["a.png", "bus", "x"]], "m.csv:2: more cells than the first line has names"),
        ([["path", "label"]], "m.csv: no rows"),
        ([["path", "label", "label"], ["a.png", "bus", "car"]], "two columns label"),
        ([["path", "label"], ["../a.png", "bus"]], "leaves the data folder"),
        ([["path", "label"], ["a.png", "bus"], ["./a.png", "car"]], "m.csv:3: 'a.png' is in line 2 too; remove one"),
        ([["path", "label"], ["a.png", "tram"]], "tram"),
        ([["path", "label"], ["a.png", "bus"], ["b.png", "bus "]], r"m.csv:3: label 'bus ' has blanks around it"),
    ],
)
def test_manifest_faults_are_named(rows, part, tmp_path):
    with pytest.raises(UserError, match=part):
        manifest(tmp_path, write_csv(tmp_path / "m.csv", rows), name="m", classes=("bus", "car"))


def test_a_stray_quote_swallows_no_rows(tmp_path):
    """Up to the next one they were one row, whose other column nobody reads."""
    file = tmp_path / "m.csv"
    file.write_text('path,label,note\na.png,bus,"old\nb.png,car,\nc.png,car,"new\n')
    with pytest.raises(UserError, match=r"m\.csv: not a CSV file"):
        manifest(tmp_path, file, name="m")


def test_an_error_has_the_line_of_the_file_where_others_are_blank(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\n\n\na.png,bus\n../b.png,bus\n")
    with pytest.raises(UserError, match=r"m\.csv:5: "):
        manifest(tmp_path, tmp_path / "m.csv", name="m")


@pytest.mark.parametrize("label", ["tr\nam", "tr\x0cam", "tr\u2028am"])
def test_a_label_that_holds_a_line_break_is_refused(label, tmp_path):
    """It is not put together from its lines, nor made two."""
    file = write_csv(tmp_path / "m.csv", [["path", "label"], ["a.png", label]])
    with pytest.raises(UserError, match="control character"):
        manifest(tmp_path, file, name="m")
