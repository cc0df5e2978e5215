"""A held-out part of the source: disjoint, whole, of every class, and the same whatever the order."""

import dataclasses
import itertools
import json
import random
from pathlib import Path

import pytest
import yaml

from csg_train.data.readers.images import ImageSet, image_folder
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.sets import hold_out
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import parse_recipe
from csg_train.recipes.sections import Recipe
from tests.commands import assert_user_error, command
from tests.conftest import CLASSES, write_tree


def named(counts: tuple[int, ...]) -> ImageSet:
    """A set of names alone; nothing is read."""
    pairs = [(f"{label}/{index}.png", label) for label, count in enumerate(counts) for index in range(count)]
    files, labels = zip(*pairs, strict=True)
    return ImageSet("x", Path("nowhere"), files, labels, tuple(f"c{i}" for i in range(len(counts))), expected=counts)


def shuffled(images: ImageSet, seed: int) -> ImageSet:
    order = random.Random(seed).sample(range(len(images)), len(images))
    files, labels = tuple(images.files[i] for i in order), tuple(images.labels[i] for i in order)
    return dataclasses.replace(images, files=files, labels=labels)


@pytest.mark.parametrize(
    ("fraction", "counts", "held_counts"),
    [
        (0.1, (2, 10, 47, 100), (1, 1, 5, 10)),  # one at least
        (0.5, (2, 10, 47, 100), (1, 5, 24, 50)),
        (0.9, (2, 3, 47, 100), (1, 2, 42, 90)),  # one at least stays
    ],
)
def test_both_sides_are_disjoint_and_whole_and_of_every_class(fraction, counts, held_counts):
    images = named(counts)
    rest, held = hold_out(images, fraction)
    assert tuple(held.counts().values()) == held_counts
    assert sorted(rest.files + held.files) == sorted(images.files)
    assert not set(rest.files) & set(held.files)
    label_of = dict(zip(images.files, images.labels, strict=True))
    for side in (rest, held):
        assert [label_of[file] for file in side.files] == list(side.labels)
        assert (side.classes, side.expected) == (images.classes, None)
        assert list(side.files) == [file for file in images.files if file in set(side.files)]  # order kept
    assert (rest.name, held.name) == ("x", "x held out")


def test_neither_order_nor_other_classes_matter_and_a_larger_share_holds_the_smaller():
    images = named((40, 60))
    held = set(hold_out(images, 0.2)[1].files)
    for seed in range(3):
        assert set(hold_out(shuffled(images, seed), 0.2)[1].files) == held
    assert set(hold_out(named((40, 7)), 0.2)[1].files) & {f"0/{i}.png" for i in range(40)} == {
        file for file in held if file.startswith("0/")
    }
    assert held < set(hold_out(images, 0.5)[1].files)
    assert held != {f"{label}/{i}.png" for label, count in ((0, 8), (1, 12)) for i in range(count)}  # not the first


def test_a_file_listed_twice_stays_on_one_side():
    images = named((5, 5))
    twice = dataclasses.replace(images, files=images.files * 2, labels=images.labels * 2)
    rest, held = hold_out(twice, 0.4)
    assert not set(rest.files) & set(held.files)
    assert len(rest) + len(held) == 20


def frames(classes: int, sequences: int, each: int) -> ImageSet:
    """Names of frames: ``c0/s3_07.png``."""
    pairs = [(f"c{c}/s{s}_{i:02d}.png", c) for c in range(classes) for s in range(sequences) for i in range(each)]
    files, labels = zip(*pairs, strict=True)
    return ImageSet("x", Path("nowhere"), files, labels, tuple(f"c{c}" for c in range(classes)))


@pytest.mark.parametrize("group", [r"s\d+", r"(s\d+)_\d+\.png$", r"^c\d/s\d+(?=_)"])
def test_a_group_stays_on_one_side(group):
    images = frames(3, 8, 5)
    rest, held = hold_out(images, 0.25, group)
    assert set(held.counts().values()) == {10}  # two of eight sequences of each class
    assert sorted(rest.files + held.files) == sorted(images.files)
    assert not {file.partition("_")[0] for file in rest.files} & {file.partition("_")[0] for file in held.files}
    assert hold_out(shuffled(images, 1), 0.25, group)[1].counts() == held.counts()
    assert set(hold_out(shuffled(images, 1), 0.25, group)[1].files) == set(held.files)


def test_a_group_of_several_classes_stays_on_one_side():
    """Objects of one sequence in several classes, unevenly: no sequence may be known from another class."""
    for seed in range(30):
        rng = random.Random(seed)
        numbers = itertools.product(range(20), range(4))
        pairs = [(f"seq{s:02d}/{c}_{i}.png", c) for s, c in numbers for i in range(rng.randrange(3))]
        files, labels = zip(*pairs, strict=True)
        images = ImageSet("x", Path("nowhere"), files, labels, ("a", "b", "c", "d"))
        rest, held = hold_out(images, 0.2, r"seq\d+")
        assert not {file[:5] for file in rest.files} & {file[:5] for file in held.files}
        assert min(*rest.counts().values(), *held.counts().values()) > 0
        assert set(hold_out(shuffled(images, seed), 0.2, r"seq\d+")[1].files) == set(held.files)


def test_groups_that_leave_a_class_without_are_refused():
    """Three groups, each of two classes: whichever is held out, a second one would leave a class none to train on."""
    files, labels = ("s0/a.png", "s1/a.png", "s1/b.png", "s2/b.png", "s2/c.png", "s0/c.png"), (0, 0, 1, 1, 2, 2)
    images = ImageSet("x", Path("nowhere"), files, labels, ("a", "b", "c"))
    with pytest.raises(UserError, match=r"class \w has 2 group\(s\) .*, all shared with classes that need them"):
        hold_out(images, 0.5, r"s\d")
    with pytest.raises(UserError, match=r"finds nothing in s0/a\.png"):
        hold_out(images, 0.5, r"(x)?s\d")


def test_a_group_that_finds_nothing_or_one_group_alone_is_an_error():
    with pytest.raises(UserError, match=r"data\.validation\.group: 't\\\\d' finds nothing in c0/s0_00\.png"):
        hold_out(frames(2, 3, 2), 0.25, r"t\d")
    with pytest.raises(UserError, match=r"class c0 has 1 group\(s\) by data\.validation\.group"):
        hold_out(frames(2, 1, 9), 0.25, r"s\d")


def test_masked_pictures_are_held_out_with_their_masks(masked_tree):
    images = masked_folder(masked_tree)
    rest, held = hold_out(images, 0.25)
    assert len(held) == round(0.25 * len(images))
    assert sorted(zip(rest.files + held.files, rest.masks + held.masks, strict=True)) == sorted(
        zip(images.files, images.masks, strict=True)
    )
    with pytest.raises(UserError, match=rf"{masked_tree}: 1 picture"):
        hold_out(images.part([0]), 0.25)


def test_a_segmentation_is_trained_without_what_is_held_out(masked_recipe_dict, tmp_path):
    masked_recipe_dict["data"]["validation"] = {"dataset": "holdout", "fraction": 0.3, "group": r"[^/]+$"}
    path = tmp_path / "masked.yaml"
    path.write_text(yaml.safe_dump(masked_recipe_dict))
    result = command("csg-train", "run", path, "--out", tmp_path / "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    counts = {}
    for split in ("source", "validation", "target"):
        data = json.loads((tmp_path / "run" / f"segmentation-{split}.json").read_text())["data"]
        counts[split] = data["count"]
    assert counts["source"] + counts["validation"] == counts["target"]
    assert counts["validation"] == round(0.3 * counts["target"])


@pytest.mark.parametrize("counts", [(4, 1, 3), (4, 0, 3)])
def test_a_class_of_fewer_than_two_is_an_error(counts):
    with pytest.raises(UserError, match=f"class c1 has {counts[1]} picture"):
        hold_out(named(counts), 0.1)


def test_the_splits_of_a_recipe(recipe_dict, trees):
    whole = image_folder(trees / "source", name="source")
    recipe_dict["data"]["validation"] = {"dataset": "holdout", "fraction": 0.25}
    first = Recipe.model_validate(recipe_dict | {"seed": 0}).data
    source, held, target = (load_split(first, split) for split in ("source", "validation", "target"))
    assert sorted(source.files + held.files) == sorted(whole.files)
    assert held.counts() == dict.fromkeys(CLASSES, 1)
    assert len({source.identity, held.identity, whole.identity}) == 3
    assert target.files == image_folder(trees / "target", name="target").files
    other = Recipe.model_validate(recipe_dict | {"seed": 5}).data
    assert load_split(other, "validation").identity == held.identity
    assert load_split(first, "validation", CLASSES[::-1]).classes == CLASSES[::-1]


def test_only_validation_can_be_held_out(recipe_dict):
    for split in ("source", "target"):
        value = recipe_dict | {"data": recipe_dict["data"] | {split: {"dataset": "holdout", "fraction": 0.1}}}
        with pytest.raises(UserError, match=f"x: data.{split}: .*holdout"):
            parse_recipe(value, origin="x")
    for fraction in (0, 1, "much"):
        value = recipe_dict | {
            "data": recipe_dict["data"] | {"validation": {"dataset": "holdout", "fraction": fraction}}
        }
        with pytest.raises(UserError, match=r"x: data\.validation\.fraction: "):
            parse_recipe(value, origin="x")
    value = recipe_dict | {"data": recipe_dict["data"] | {"validation": {"dataset": "holdout", "group": "(s"}}}
    with pytest.raises(UserError, match=r"x: data\.validation\.group: .*'\(s' is no regular expression"):
        parse_recipe(value, origin="x")
    value = recipe_dict | {"data": recipe_dict["data"] | {"validation": {"dataset": "holdout", "share": 0.1}}}
    with pytest.raises(UserError, match=r"data\.validation\.share: unknown key; allowed: dataset, fraction, group"):
        parse_recipe(value, origin="x")


def test_data_check_counts_both_sides_and_refuses_a_class_of_one(recipe_file, recipe_dict, tmp_path):
    sets = ("--set", "data.validation={dataset: holdout, fraction: 0.25}")
    result = command("csg-train", "data", "check", recipe_file, *sets, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    assert ["bus", "3", "1", "3"] in rows
    assert ["total", "9", "3", "9"] in rows
    write_tree(tmp_path / "one", per_class=1)
    recipe_dict["data"]["source"]["root"] = str(tmp_path / "one")
    recipe_file.write_text(yaml.safe_dump(recipe_dict))
    result = command("csg-train", "run", recipe_file, *sets, "--out", "run", cwd=tmp_path)
    assert_user_error(result, str(tmp_path / "one"), "class bus", "data.validation")
    assert not list(tmp_path.rglob("ckpt.pt"))


def test_every_split_is_reduced(recipe_dict):
    recipe_dict["data"] |= {"validation": {"dataset": "holdout", "fraction": 0.25}, "shorter_side": 16}
    recipe = Recipe.model_validate(recipe_dict)
    for split in ("source", "validation", "target"):
        images = load_split(recipe.data, split, CLASSES)
        assert {min(images.picture(index).size) for index in range(len(images))} == {16}, split
