"""A class map of folders, on a small tree in Caltech-101's layout, as far as a run of the packaged recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.readers.images import ImageSet, image_folder
from csg_train.data.readers.listing import LeftOut
from csg_train.data.readers.sets import hold_out
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import load_recipe, parse_recipe, to_yaml
from tests.commands import assert_user_error, command

CLASS_MAP = load_recipe("renders-caltech101").data.target.classes
NAMED = [folder for folders in CLASS_MAP.values() for folder in folders]
OTHERS = ["BACKGROUND_Google", "Faces", "Faces_easy", "Motorbikes", "airplanes", "wheelchair"]


def write_jpeg(path: Path, seed: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture(scope="module")
def caltech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``101_ObjectCategories`` with two pictures a category, the cars grey as in the original; read only."""
    root = tmp_path_factory.mktemp("caltech") / "101_ObjectCategories"
    for number, folder in enumerate([*NAMED, *OTHERS]):
        for index in (1, 2):
            mode = "L" if folder == "car_side" else "RGB"
            write_jpeg(root / folder / f"image_{index:04d}.jpg", 10 * number + index, mode)
    (root / "BACKGROUND_Google" / "tmp").write_bytes(b"no picture")
    return root


def mapped(root: Path, **class_map: list[str]) -> ImageSet:
    return image_folder(root, name="mine", class_map=class_map)


def test_folders_of_the_map_are_its_classes_and_the_others_are_left_out(caltech: Path) -> None:
    images = image_folder(caltech, name="caltech", class_map=CLASS_MAP)
    assert images.classes == ("car", "chair", "cup", "flower", "lamp", "mammal", "tree")
    assert images.counts() == {name: 2 * len(folders) for name, folders in CLASS_MAP.items()}
    folders = {name: {file.split("/")[0] for file in named_files(images, name)} for name in images.classes}
    assert folders == {name: set(own) for name, own in CLASS_MAP.items()}
    assert {(one.file, one.reason) for one in images.left_out} == {
        (name, "in no class of the recipe") for name in OTHERS
    }
    assert images.read(0).mode == "RGB"


def named_files(images: ImageSet, name: str) -> list[str]:
    pairs = zip(images.files, images.labels, strict=True)
    return [file for file, label in pairs if images.classes[label] == name]


def test_the_classes_of_the_source_set_the_index_and_must_be_those_of_the_map(caltech: Path) -> None:
    pets = {"dog": ["dalmatian"], "cat": ["wild_cat", "Leopards"]}
    images = image_folder(caltech, name="pets", classes=("dog", "cat"), class_map=pets)
    assert images.labels == (0, 0, 1, 1, 1, 1)
    assert images.files[2] == "Leopards/image_0001.jpg"
    fewer = image_folder(caltech, name="pets", classes=("cat", "cow", "dog"), class_map=pets)
    assert fewer.counts() == {"cat": 4, "cow": 0, "dog": 2}
    with pytest.raises(
        UserError, match=r"mapped classes differ from the source's: missing \['cow'\], unexpected \['cat'\]"
    ):
        image_folder(caltech, name="pets", classes=("cow", "dog"), class_map=pets)


def test_identity_tells_one_map_from_another_of_the_same_files(caltech: Path, tmp_path: Path) -> None:
    first = mapped(caltech, seat=["chair", "windsor_chair"], light=["lamp"])
    others = (
        mapped(caltech, seat=["chair"], light=["lamp", "windsor_chair"]),
        mapped(caltech, sofa=["chair", "windsor_chair"], light=["lamp"]),
        mapped(caltech, chair=["chair"], windsor_chair=["windsor_chair"], lamp=["lamp"]),
    )
    assert all(sorted(other.files) == sorted(first.files) for other in others)
    assert len({first.identity, *(other.identity for other in others)}) == 4
    assert mapped(caltech, light=["lamp"], seat=["windsor_chair", "chair"]).identity == first.identity
    for folder in ("cat", "dog"):
        write_jpeg(tmp_path / folder / "1.jpg", 1)
    assert mapped(tmp_path, cat=["cat"], dog=["dog"]).identity == image_folder(tmp_path, name="plain").identity


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("motorbikes", "no folder 'motorbikes', .*there is Motorbikes$"),
        ("zzz", "no folder 'zzz', .*there is BACKGROUND_Google, Faces, Faces_easy, Leopards"),
        ("../101_ObjectCategories/cup", "no folder"),
        ("cup/", "no folder"),
    ],
)
def test_a_missing_folder_of_the_map_names_what_is_there(caltech: Path, folder: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        mapped(caltech, a=["chair"], b=[folder])
    assert str(caltech) in caught.value.format_message()


def test_a_named_folder_without_images_is_an_error_and_one_left_out_is_not(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "cat" / "1.jpg", 1)
    (tmp_path / "empty").mkdir()
    assert mapped(tmp_path, cat=["cat"]).left_out == (LeftOut("empty", "in no class of the recipe"),)
    with pytest.raises(UserError, match="empty: a class without images"):
        mapped(tmp_path, cat=["cat", "empty"])


def recipe(source: dict, target: dict) -> dict:
    return {
        "name": "x",
        "method": {"name": "baseline"},
        "train": {"steps": 1},
        "data": {"source": source, "target": target},
    }


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": ["cup"], "b": ["cup"]}, "folder 'cup' is named 2 times; a folder belongs to one class"),
        ({"a": ["cup", "cup"]}, "named 2 times"),
        ({"a": []}, "it should have at least 1"),
        ({}, "it should have at least 1"),
        ({"a": "cup"}, "it should be a list"),
        ({"a": [1]}, "it should be text"),
    ],
)
def test_a_bad_map_is_refused_as_the_recipe_is_read(classes: dict, message: str) -> None:
    folder = {"dataset": "folder", "root": "nowhere"}
    with pytest.raises(UserError, match=rf"x: data\.target\.classes.*{message}"):
        parse_recipe(recipe(folder, folder | {"classes": classes}), origin="x")


def test_a_recipe_without_a_map_is_written_as_before() -> None:
    folder = {"dataset": "folder", "root": "pictures"}
    plain = parse_recipe(recipe(folder, folder), origin="x")
    assert plain.as_dict()["data"]["target"] == folder | {"name": None}
    with_map = parse_recipe(recipe(folder, folder | {"classes": {"a": ["b"]}}), origin="x")
    assert with_map.as_dict()["data"]["target"] == folder | {"name": None, "classes": {"a": ["b"]}}
    assert "obtain" not in to_yaml(with_map)


def test_a_source_may_have_a_map_and_be_held_out_of(caltech: Path) -> None:
    domain = {
        "dataset": "folder",
        "root": str(caltech),
        "classes": {"seat": ["chair", "windsor_chair"], "cup": ["cup"]},
    }
    value = recipe(domain, domain)
    value["data"]["validation"] = {"dataset": "holdout", "fraction": 0.5}
    data = parse_recipe(value, origin="x").data
    assert load_split(data, "source").counts() == load_split(data, "validation").counts() == {"cup": 1, "seat": 2}
    assert hold_out(load_split(data, "target"), 0.5)[0].files == load_split(data, "source").files


@pytest.fixture
def arguments(tmp_path: Path, weights: Path) -> list[str]:
    """The packaged recipe with a narrow network and a stand-in for the renders, to be completed by the target."""
    for number, name in enumerate(CLASS_MAP):
        for index in range(2):
            write_jpeg(tmp_path / "renders" / name / f"{index}.jpg", 1000 + 10 * number + index)
    sets = [
        f"data.source={{dataset: folder, root: {tmp_path / 'renders'}}}",
        "data.validation=null",
        "data.size=32",
        f"model={{backbone: narrow, weights: {weights}, hidden: 8}}",
        "method.queue_size=16",
        "train={steps: 2, batch_size: 4}",
    ]
    return ["renders-caltech101", *(word for one in sets for word in ("--set", one))]


def test_the_recipe_checks_trains_and_measures_a_tree_in_the_layout(
    arguments: list[str], caltech: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "101_ObjectCategories").symlink_to(caltech)
    checked = command("csg-train", "data", "check", *arguments, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert f"target: left out: {len(OTHERS)} in no class of the recipe ({', '.join(OTHERS[:3])}" in checked.stdout
    done = command("csg-train", "run", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("runs/renders-caltech101/*/accuracy-target.json")).read_text())
    images = image_folder(caltech, name="caltech", class_map=CLASS_MAP)
    assert record["data"]["identity"] == images.identity
    assert record["data"]["count"] == len(images) == 2 * len(NAMED)


def test_without_the_photographs_it_says_before_training_where_to_get_them(
    arguments: list[str], tmp_path: Path
) -> None:
    done = command("csg-train", "run", *arguments, cwd=tmp_path)
    places = ("data/101_ObjectCategories: no such folder", "https://data.caltech.edu/records/mzrjq-6wc02 (CC BY 4.0)")
    assert_user_error(done, *places)
    assert not (tmp_path / "runs").exists()
