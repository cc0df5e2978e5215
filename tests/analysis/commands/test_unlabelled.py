"""A target of pictures without labels, through the real commands: all is measured but accuracy, which is unknown."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.commands import assert_user_error, command


@pytest.fixture(scope="module")
def photos(trees, tmp_path_factory) -> Path:
    """The pictures of the labelled target, in other folders, and a file that is none."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    for index, file in enumerate(sorted((trees / "target").rglob("*.png"))):
        to = root / ("deep/er" if index % 2 else "") / f"{index}.png"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    (root / "notes.txt").write_text("none")
    return root


@pytest.fixture
def recipe(recipe_dict, photos, tmp_path) -> Path:
    recipe_dict["data"]["target"] = {"dataset": "pictures", "root": str(photos)}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(recipe_dict))
    return tmp_path / "real.yaml"


def done(name: str, *arguments: object, cwd: Path):
    result = command(name, *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result


def test_everything_but_accuracy_is_measured_and_the_report_says_so(recipe, recipe_dict, photos, trees, tmp_path):
    check = done("csg-train", "data", "check", recipe, "--sheet", "sheets", cwd=tmp_path)
    assert "9 pictures, without labels: accuracy on them stays unknown" in check.stdout
    assert "left out: 1 of type .txt (notes.txt)" in check.stdout
    run = done("csg-train", "run", recipe, "--out", "runs/real", cwd=tmp_path)
    sentence = "accuracy unknown: 9 pictures of photos without labels; predicted: "
    assert f"target: {sentence}" in run.stdout
    folder = tmp_path / "runs" / "real"
    assert not (folder / "accuracy-target.json").exists()
    unknown = json.loads((folder / "unlabelled-target.json").read_text())
    assert sum(unknown["predicted"].values()) == unknown["data"]["count"] == 9

    checkpoint = folder / "ckpt.pt"
    accuracy = done("csg-analyze", "accuracy", checkpoint, cwd=tmp_path)
    assert f"baseline s0 target: {sentence}" in accuracy.stdout
    assert "baseline s0 source" in accuracy.stdout
    only = done("csg-analyze", "accuracy", checkpoint, "--split", "target", "--json", cwd=tmp_path)
    assert json.loads(only.stdout)[0]["kind"] == "unlabelled"

    similar = done("csg-analyze", "compare", checkpoint, "--split", "target", cwd=tmp_path)
    assert "alignment" in similar.stdout.rsplit("left out", 1)[0].rsplit("\n", 1)[-1]
    done("csg-analyze", "energy", checkpoint, cwd=tmp_path)
    done("csg-analyze", "sphere", checkpoint, cwd=tmp_path)
    done("csg-analyze", "gradcam", checkpoint, "--per-class", 1, cwd=tmp_path)
    attended = json.loads((folder / "attention.json").read_text())["pictures"]
    assert len(attended) == 3
    assert {picture["label"] for picture in attended} == {None}
    done("csg-analyze", "attention", checkpoint, "--split", "target", cwd=tmp_path)
    done("csg-analyze", "features", checkpoint, "--out", "features", cwd=tmp_path)
    assert (tmp_path / "features" / "real.csv").read_text().splitlines()[:2] == ["row,file", "0,0.png"]
    for word in ("gradcam", "attention"):
        split = ("--split", "target") if word == "attention" else ()
        refusal = command("csg-analyze", word, checkpoint, "--explain", "label", *split, cwd=tmp_path)
        assert_user_error(refusal, "--explain label")

    # the same pictures with labels have the same energy
    labelled = f"data.target={{dataset: folder, root: {trees / 'target'}}}"
    same = done("csg-analyze", "energy", checkpoint, "--split", "target", "--set", labelled, "--json", cwd=tmp_path)
    energy = json.loads((folder / "energy-target.json").read_text())
    assert json.loads(same.stdout)[0]["mhe"]["0"] == pytest.approx(energy["mhe"]["0"], rel=1e-9)
    done("csg-analyze", "energy", checkpoint, cwd=tmp_path)

    done("csg-report", "build", "runs", "--out", "report", cwd=tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    text = (tmp_path / "report" / "report.md").read_text()
    for shown in (page, text):
        assert "The target has no labels (photos, 9 pictures): mean-per-class accuracy on it is unknown." in shown
        assert "csg-analyze accuracy RUN" not in shown
    methods = json.loads((tmp_path / "report" / "tables" / "methods.json").read_text())
    assert '"mean_per_class_percent": null' in json.dumps(methods)
    assert ">unknown" in page
    done("csg-report", "verify", "report", "runs", cwd=tmp_path)


def test_a_sweep_over_them_ends(recipe, tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"recipe": str(recipe), "vary": {"seed": {"s0": ["seed=0"]}}}))
    for finished in (0, 1):
        result = done("csg-train", "sweep", "sweep.yaml", "--out", "runs", cwd=tmp_path)
        assert f"1 runs, {finished} finished" in result.stdout


def test_one_picture_has_a_number_and_no_interval(masked_recipe_dict, masked_tree, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / "one" / folder).mkdir(parents=True)
        shutil.copy(masked_tree / folder / "0.png", tmp_path / "one" / folder)
    shutil.copy(masked_tree / "classes.txt", tmp_path / "one")
    masked_recipe_dict["data"]["target"] = {"dataset": "masked-folder", "root": "one"}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(masked_recipe_dict))
    assert "none" in done("csg-train", "run", "real.yaml", "--out", "runs/one", cwd=tmp_path).stdout
    assert json.loads((tmp_path / "runs/one/segmentation-target.json").read_text())["interval"] is None
    printed = done("csg-analyze", "accuracy", "runs/one/ckpt.pt", "--split", "target", cwd=tmp_path).stdout
    assert "interval: none, since resampling cannot vary it" in printed
    words = ("runs/one/ckpt.pt", "--format", "safetensors", "--images", masked_tree / "images", "--to", "out")
    done("csg-train", "export", *words, cwd=tmp_path)
    assert "%, no interval" in (tmp_path / "out" / "README.md").read_text()
    done("csg-report", "build", "runs", cwd=tmp_path)
    (row,) = json.loads((tmp_path / "report" / "tables" / "runs.json").read_text())["rows"]
    assert (row["mean_iou_percent_low"], row["mean_iou_percent_high"]) == (None, None)
    done("csg-report", "verify", "report", "runs", cwd=tmp_path)


def test_of_a_segmentation_they_are_shown_whole(masked_recipe_dict, photos, tmp_path):
    masked_recipe_dict["data"]["target"] = {"dataset": "pictures", "root": str(photos), "name": "street"}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(masked_recipe_dict))
    run = done("csg-train", "run", "real.yaml", "--out", "run", cwd=tmp_path)
    assert "accuracy unknown: 9 pictures of street without labels" in run.stdout
    unknown = json.loads((tmp_path / "run" / "unlabelled-target.json").read_text())
    assert unknown["data"]["fit"] == "whole"
    refused = command("csg-analyze", "predictions", "run/ckpt.pt", cwd=tmp_path)
    assert_user_error(refused, "pictures without masks; show --images source, or use csg-train predict")
    done("csg-analyze", "energy", "run/ckpt.pt", "--split", "target", cwd=tmp_path)
    done("csg-analyze", "gradcam", "run/ckpt.pt", "--per-class", 1, cwd=tmp_path)
    with np.load(tmp_path / "run" / "attention.npz") as arrays:
        assert arrays["maps"].shape == (3, 40, 48)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("data.source={dataset: pictures, root: x}", ("data.source", "'pictures'")),
        ("evaluate.select=oracle", ("evaluate", "oracle", "pictures without labels")),
        ("data.target.root=nowhere", ("nowhere", "no such")),
        ("data.target.classes=[a]", ("data.target.classes", "unknown key", "root")),
    ],
)
def test_mistakes_are_one_line(recipe, tmp_path, change, parts):
    assert_user_error(command("csg-train", "run", recipe, "--set", change, "--out", "run", cwd=tmp_path), *parts)
    assert not (tmp_path / "run").exists()


def test_a_target_that_got_its_labels_is_unknown_no_more(recipe, trees, tmp_path):
    """Both records stood there, and the report found the run not comparable with itself."""
    done("csg-train", "run", recipe, "--out", "runs/real", cwd=tmp_path)
    folder = tmp_path / "runs" / "real"
    assert not (folder / "confusion-target.csv").exists()
    labelled = f"data.target={{dataset: folder, root: {trees / 'target'}}}"
    done("csg-analyze", "accuracy", folder / "ckpt.pt", "--split", "target", "--set", labelled, cwd=tmp_path)
    assert sorted(path.name for path in folder.glob("*-target.*")) == ["accuracy-target.json", "confusion-target.csv"]
    rows = list(csv.reader((folder / "confusion-target.csv").read_text().splitlines()))
    found = json.loads((folder / "accuracy-target.json").read_text())
    assert [[int(one) for one in row[1:]] for row in rows[1:]] == found["confusion"]
    done("csg-train", "run", recipe, "--out", "runs/real", "--resume", cwd=tmp_path)
    assert [path.name for path in folder.glob("*-target.*")] == ["unlabelled-target.json"]
