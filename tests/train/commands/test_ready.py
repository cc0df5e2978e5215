"""What ``data check`` passes, ``run`` accepts; both refuse before the first step, in the same words."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import ExifTags, Image

from csg_train.errors import UserError
from csg_train.recipes import require_outside_data
from csg_train.recipes.sections import Data
from tests.commands import assert_user_error, command
from tests.survival.test_fuzz_pictures import deep_pictures


@pytest.fixture
def masked(masked_recipe_dict: dict, masked_tree: Path, tmp_path: Path) -> Path:
    shutil.copytree(masked_tree, tmp_path / "m")
    masked_recipe_dict["data"]["source"]["root"] = str(tmp_path / "m")
    path = tmp_path / "masked.yaml"
    path.write_text(yaml.safe_dump(masked_recipe_dict))
    return path


def refused_by_both(recipe: Path, *parts: str, sets: tuple[str, ...] = ()) -> None:
    options = [word for one in sets for word in ("--set", one)]
    assert_user_error(command("csg-train", "data", "check", recipe, *options, cwd=recipe.parent), *parts)
    assert_user_error(command("csg-train", "run", recipe, *options, "--out", "o", cwd=recipe.parent), *parts)
    assert not (recipe.parent / "o" / "log.jsonl").exists()


def test_a_mask_of_another_size(masked):
    Image.fromarray(np.zeros((36, 38), dtype=np.uint8)).save(masked.parent / "m" / "masks" / "3.png")
    refused_by_both(masked, f"{masked.parent / 'm'}: images/3.png has 40x36", "masks/3.png has 38x36")


def test_a_mask_with_an_id_that_has_no_class(masked):
    Image.fromarray(np.full((36, 40), 9, dtype=np.uint8)).save(masked.parent / "m" / "masks" / "3.png")
    refused_by_both(masked, "masks/3.png", "label id 9")


def test_a_mask_with_an_orientation_of_its_own(masked):
    """Its ids were read as they lie, and its size as it would be turned: the two commands did not agree."""
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for mask in (np.zeros((36, 40), dtype=np.uint8), np.zeros((40, 36), dtype=np.uint8)):
        Image.fromarray(mask).save(masked.parent / "m" / "masks" / "3.png", exif=turned)
        refused_by_both(masked, "masks/3.png")


def test_two_masks_of_one_name(masked):
    shutil.copy(masked.parent / "m" / "masks" / "3.png", masked.parent / "m" / "masks" / "3.PNG")
    refused_by_both(masked, "m/masks", "two masks of the same name")


@pytest.mark.parametrize("split", ["source", "target"])
def test_masks_that_label_nothing(split, masked, masked_tree):
    shutil.copytree(masked_tree, masked.parent / "n")
    for path in (masked.parent / "n" / "masks").iterdir():
        Image.fromarray(np.full((36, 40), 255, dtype=np.uint8)).save(path)
    refused_by_both(masked, "every pixel of its masks is ignored", sets=(f"data.{split}.root={masked.parent / 'n'}",))


def test_a_step_without_a_label_ends_no_run(masked):
    Image.fromarray(np.full((36, 40), 255, dtype=np.uint8)).save(masked.parent / "m" / "masks" / "3.png")
    sets = ("--set", "train.batch_size=1", "--set", "train.steps=6")
    result = command("csg-train", "run", masked, *sets, "--blind", "--out", "o", cwd=masked.parent)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (masked.parent / "o" / "log.jsonl").read_text().splitlines()]
    assert sorted(row["ce"] > 0 for row in rows) == [False, *[True] * 5]


@pytest.mark.parametrize("split", ["source", "target"])
@pytest.mark.parametrize("fault", ["cut", "another type", "a strip"])
def test_pictures_of_a_small_set_are_decoded_before_the_first_step(split, fault, recipe_file, trees, tmp_path):
    shutil.copytree(trees / split, tmp_path / "t")
    path = tmp_path / "t" / "car" / "0.png"
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif fault == "another type":
        Image.new("RGB", (40, 40)).save(path, "GIF")
    else:
        Image.new("RGB", (101, 1)).save(path)
    refused_by_both(recipe_file, "car/0.png", sets=(f"data.{split}.root={tmp_path / 't'}",))


@pytest.mark.parametrize("fault", ["missing", "misspelt", "empty", "cut", "the target's"])
def test_photographs_that_cannot_be_a_background(fault, recipe_file, trees, tmp_path):
    folder, named = tmp_path / "photos", "photos"
    if fault not in ("missing", "misspelt"):
        folder.mkdir()
    if fault == "misspelt":
        named, parts = "vareid", ("data.background (plain, varied or a folder of photographs): vareid", "no such")
    elif fault == "missing":
        parts = ("data.background", "photos: no such file or folder")
    elif fault == "empty":
        parts = ("data.background", "photos: no images; put")
    elif fault == "cut":
        (folder / "a.png").write_bytes((trees / "target/car/0.png").read_bytes()[:-200])
        parts = ("photos/a.png",)
    else:
        (folder / "a.png").hardlink_to(trees / "target/car/0.png")
        parts = ("data.target: 1 of its pictures are data.background's, which are trained on",)
    refused_by_both(recipe_file, *parts, sets=(f"data.background={named}",))


def test_crops_of_a_segmentation_have_no_photographs_under_them(masked):
    refused_by_both(masked, "data.background", "without masks", sets=("data.background=photos",))


def test_a_target_of_other_classes_is_found_before_training(recipe_file, trees, tmp_path):
    shutil.copytree(trees / "target", tmp_path / "t")
    (tmp_path / "t" / "car").rename(tmp_path / "t" / "van")
    refused_by_both(recipe_file, "car", "van", sets=(f"data.target.root={tmp_path / 't'}",))


def test_the_target_of_a_blind_run_need_not_be_there(recipe_file, tmp_path):
    sets = ("--set", "data.target.root=nowhere", "--set", "train.steps=1")
    assert_user_error(command("csg-train", "run", recipe_file, *sets, "--out", "o", cwd=tmp_path), "nowhere")
    result = command("csg-train", "run", recipe_file, *sets, "--out", "o", "--blind", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_old_run_is_kept_where_the_new_one_cannot_start(recipe_file, tmp_path):
    assert command("csg-train", "run", recipe_file, "--out", "o", cwd=tmp_path).returncode == 0
    sets = ("--overwrite", "--set", "data.target.root=nowhere")
    assert_user_error(command("csg-train", "run", recipe_file, "--out", "o", *sets, cwd=tmp_path), "nowhere")
    assert (tmp_path / "o" / "ckpt.pt").is_file()


@pytest.mark.parametrize(
    ("sets", "parts"),
    [
        (("train.batch_size=1", "model.batch_norm=train"), ("train.batch_size", "batch_norm: train")),
        (("method.name=ibn-net", "data.size=16"), ("data.size", "ibn-net", "32")),
        (("method.name=pixels",), ("method", "allowed")),
        (("method.name=csg", 'method.layers=["layer9"]'), ("method.", "layer9")),
        (("method.name=domain-randomization",), ("method.styles", "missing")),
        (("method.name=csg", "method.patches=3"), ("3 x 3 patches", "does not divide")),
        (("method.name=csg", "method.layers=[layer4, layer4]"), ("method.layers", "twice")),
        (
            ("model.backbone=timm/test_convnext", "model.weights=none", "data.size=16"),
            ("data.size: 16 pixels do not go through timm/test_convnext",),
        ),
    ],
)
def test_settings_that_torch_would_refuse_in_the_first_step(sets, parts, recipe_file):
    refused_by_both(recipe_file, *parts, sets=sets)


@pytest.mark.parametrize(
    ("sets", "parts"),
    [
        (("train.batch_size=1", "segmentation.head=deeplab-v3"), ("train.batch_size", "deeplab-v3")),
        (("segmentation.scale=[1.0e+308, 1.0e+308]",), ("segmentation.scale",)),
        (("segmentation.scale=[1.25, 0.75]",), ("segmentation.scale", "1.25 to 0.75", "smaller factor first")),
        (("data.source.images=masks",), ("data.source", "images and masks are both 'masks'")),
        (("method={name: domain-randomization, styles: m/images, levels: [0]}",), ("method.levels.0",)),
        (("method={name: domain-randomization, styles: m/images, levels: [3]}",), ("3 x 3 patches",)),
        (("method.name=ibn-net", "data.size=16", "segmentation.output_stride=16"), ("data.size",)),
    ],
)
def test_settings_of_a_segmentation(sets, parts, masked):
    refused_by_both(masked, *parts, sets=sets)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", ("git-lfs pointer", "git lfs pull")),
        (b"<!DOCTYPE html><html>login</html>", ("web page",)),
        (b"", ("0 bytes",)),
    ],
)
def test_starting_weights_that_are_something_else(content, parts, recipe_file, tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    refused_by_both(recipe_file, str(path), *parts, sets=(f"model.weights={path}",))


def test_a_step_that_would_be_chosen_on_the_target_under_another_name(recipe_file, trees, tmp_path):
    """It was called source-val, and the report said that nothing was chosen on the target."""
    validation = f"data.validation={json.dumps({'dataset': 'folder', 'root': str(trees / 'target')})}"
    words = ("data.validation: 9 of its pictures are data.target's", "evaluate.select oracle")
    for sets in (("evaluate.select=source-val",), ('average={"rule": "swad"}',)):
        refused_by_both(recipe_file, *words, sets=(validation, *sets))
    run = ("csg-train", "run", recipe_file, "--set", validation, "--out", "last", "--set", "train.steps=1")
    assert command(*run, cwd=tmp_path).returncode == 0, "nobody chooses"


SHARED = {"source": "which are trained on", "target": "on which a step would be chosen"}


@pytest.mark.parametrize("split", SHARED)
def test_links_hide_no_picture_on_which_a_step_would_be_chosen(split, recipe_file, trees, tmp_path):
    (tmp_path / "link").symlink_to(trees / split)
    for root in ("link", str(trees / "target" / ".." / split)):
        validation = f"data.validation={json.dumps({'dataset': 'folder', 'root': root})}"
        words = (f"of its pictures are data.{split}'s", SHARED[split])
        refused_by_both(recipe_file, *words, sets=(validation, "evaluate.select=source-val"))


def test_a_target_that_is_trained_on(recipe_file, trees, tmp_path):
    """Some renders and some photos in one list: the accuracy on photos was that of pictures trained on."""
    rows = [f"source/car/{n}.png,car\nsource/bus/{n}.png,bus" for n in range(4)]
    (tmp_path / "mixed.csv").write_text("\n".join(["path,label", *rows, "target/truck/0.png,truck"]))
    source = {"dataset": "manifest", "root": str(trees), "file": str(tmp_path / "mixed.csv")}
    words = ("data.target: 1 of its pictures are data.source's, which are trained on",)
    refused_by_both(recipe_file, *words, sets=(f"data.source={json.dumps(source)}",))


def test_a_target_may_lack_classes_of_the_source_and_has_no_others(recipe_file, trees, tmp_path):
    shutil.copytree(trees / "target", tmp_path / "real", ignore=shutil.ignore_patterns("car"))
    sets = ("--set", f"data.target.root={tmp_path / 'real'}")
    done = command("csg-train", "run", recipe_file, *sets, "--out", "f", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "target: no picture is of car" in done.stdout
    record = json.loads((tmp_path / "f" / "accuracy-target.json").read_text())
    own = [sum(row) and row[index] / sum(row) for index, row in enumerate(record["confusion"])]
    assert [sum(row) for row in record["confusion"]] == [3, 0, 3]
    assert record["mean_per_class"] == (own[0] + own[2]) / 2
    listed = tmp_path / "real.csv"
    listed.write_text(
        "path,label\n" + "\n".join(f"{name}/{n}.png,{name}" for name in ("bus", "truck") for n in range(3))
    )
    domain = {"dataset": "manifest", "root": str(tmp_path / "real"), "file": str(listed)}
    sets = ("--set", f"data.target={json.dumps(domain)}")
    done = command("csg-train", "run", recipe_file, *sets, "--out", "m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "m" / "accuracy-target.json").read_text())["confusion"] == record["confusion"]
    (tmp_path / "real" / "truck").rename(tmp_path / "real" / "trucks")
    sets = (f"data.target.root={tmp_path / 'real'}",)
    refused_by_both(recipe_file, "missing ['car', 'truck'], unexpected ['trucks']", "may lack some", sets=sets)


def test_a_picture_of_a_style_that_does_not_decode(masked):
    shutil.copytree(masked.parent / "m" / "images", masked.parent / "styles")
    (masked.parent / "styles" / "3.png").write_bytes(b"no picture")
    sets = ("method={name: domain-randomization, styles: styles, levels: [1]}",)
    refused_by_both(masked, "styles/3.png: cannot decode", sets=sets)


def test_a_domain_of_a_demo_is_named_once(recipe_file):
    """Its pictures counted twice, and the interval was too narrow."""
    sets = ("data.target={dataset: digits, domains: [handwriting, handwriting]}",)
    refused_by_both(recipe_file, "data.target", "'handwriting' is named twice", sets=sets)


def test_drawn_pictures_go_to_no_folder_from_which_a_split_reads(recipe_file, masked, trees, tmp_path):
    """The next command counted them among the target's, or missed their masks."""
    shutil.copytree(trees / "target" / "car", tmp_path / "photos")
    target = 'data.target={dataset: pictures, root: "photos"}'
    check = ("csg-train", "data", "check")
    refused = command(*check, recipe_file, "--set", target, "--sheet", "photos/sheets", cwd=tmp_path)
    assert_user_error(refused, "photos/sheets: in photos, from which data.target reads")
    refused = command(*check, recipe_file, "--set", "data.background=photos", "--sheet", "photos/a", cwd=tmp_path)
    assert_user_error(refused, "photos/a: in photos, from which data.background reads")
    for folder in ("images", "masks"):
        refused = command(*check, masked, "--sheet", tmp_path / "m" / folder, cwd=tmp_path)
        assert_user_error(refused, "from which data.source reads")
    data = Data.model_validate(yaml.safe_load(masked.read_text())["data"])
    require_outside_data(tmp_path / "m" / "images" / "run", data)  # a run draws nothing
    layouts = {"gta5": ("images", "labels"), "cityscapes": ("leftImg8bit", "gtFine"), "synthia": ("RGB", "GT")}
    for dataset, folders in layouts.items():
        own = {"source": {"dataset": dataset, "root": str(tmp_path)}, "target": {"dataset": dataset, "root": "x"}}
        for folder in folders:
            (tmp_path / folder).mkdir(exist_ok=True)
            with pytest.raises(UserError, match=r"from which data\.source reads"):
                require_outside_data(tmp_path / folder / "new", Data.model_validate(own), drawn=True)
        require_outside_data(tmp_path / "new", Data.model_validate(own), drawn=True)


def test_a_picture_of_sixteen_bits_is_refused_whatever_its_mode(recipe_file, trees, tmp_path):
    for number, content in enumerate(deep_pictures()):
        root = tmp_path / f"t{number}"
        shutil.copytree(trees / "source", root)
        (root / "car" / "0.png").write_bytes(content)
        result = command("csg-train", "data", "check", recipe_file, "--set", f"data.source.root={root}", cwd=tmp_path)
        assert_user_error(result, "car/0.png", "more than 8 bits")


@pytest.mark.parametrize("out", ["source/run", "source", "target/bus/run"])
def test_a_run_inside_folders_of_classes(out, recipe_dict, trees, tmp_path):
    """Its folder was made, found to be a class without images, and left behind, in the way of every run after it."""
    for split in ("source", "target"):
        shutil.copytree(trees / split, tmp_path / split)
        recipe_dict["data"][split]["root"] = split
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe_dict))
    before = sorted(tmp_path.rglob("*"))
    refused = command("csg-train", "run", "tiny.yaml", "--out", out, cwd=tmp_path)
    assert_user_error(refused, f"{out}: in {out.split('/')[0]}, from which data.{out.split('/')[0]} reads")
    refused = command("csg-train", "data", "check", "tiny.yaml", "--sheet", out, cwd=tmp_path)
    assert_user_error(refused, f"{out}: in {out.split('/')[0]}, from which")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_no_class_takes_may_lie_among_those_of_classes(recipe_dict, trees, tmp_path):
    """Where a recipe says which folders are classes, the others are the user's own."""
    shutil.copytree(trees / "source", tmp_path / "source")
    own = {"vehicles": ["bus", "truck"], "cars": ["car"]}
    recipe_dict["data"]["source"] = {"dataset": "folder", "root": "source", "classes": own}
    data = Data.model_validate(recipe_dict["data"])
    with contextlib.chdir(tmp_path):
        require_outside_data(Path("source/run"), data)
        for out in ("source/truck", "source/car/run"):
            with pytest.raises(UserError, match=r"from which data\.source reads"):
                require_outside_data(Path(out), data)


def test_one_class(recipe_file, trees):
    """A root one level too high, of pictures below its folders: every prediction was right, 100.0 %."""
    recipe = yaml.safe_load(recipe_file.read_text())
    for split in ("source", "target"):
        shutil.copytree(trees / split, recipe_file.parent / split / "train")
        recipe["data"][split]["root"] = str(recipe_file.parent / split)
    recipe_file.write_text(yaml.safe_dump(recipe))
    refused_by_both(recipe_file, "data.source: one class alone", "folders of classes")
