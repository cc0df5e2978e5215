"""`masked_manifest`: what simulators write into one folder, or under names of their own, paired by a CSV file."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from csg_train.data.readers.mask_folders import masked_manifest
from csg_train.data.readers.masks import picture_and_mask
from csg_train.errors import UserError
from csg_train.recipes.domains import MaskedManifestDomain
from csg_train.recipes.pictures import load_masked_domain
from tests.commands import command
from tests.conftest import copied

ROWS = [("step0.camera.png", "step0.semantic.png"), ("step1.camera.png", "step1.semantic.png")]


def solo(root: Path, *, colours: bool = False) -> Path:
    """Pictures and masks in one folder; picture and mask i are grey of value 10 i, and class i."""
    (root / "sequence.0").mkdir(parents=True)
    for index, names in enumerate(ROWS):
        mask = np.full((4, 6), index, dtype=np.uint8)
        shown = (
            np.full((4, 6, 3), 10 * index, dtype=np.uint8),
            np.stack([40 * mask] * 3, axis=-1) if colours else mask,
        )
        for name, pixels in zip(names, shown, strict=True):
            Image.fromarray(pixels).save(root / "sequence.0" / name)
    return written(root / "pairs.csv", [("path", "mask", "group"), *((*row, "0") for row in in_folder())])


def in_folder() -> list[tuple[str, str]]:
    return [(f"sequence.0/{picture}", f"sequence.0/{mask}") for picture, mask in ROWS]


def written(file: Path, rows: list[tuple[str, ...]]) -> Path:
    file.write_text("".join(f"{','.join(row)}\n" for row in rows))
    return file


def test_pairs_are_those_of_the_list(tmp_path):
    file = solo(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    images = masked_manifest(tmp_path, file, name="solo", classes=("road", "sky"))
    assert (images.name, list(zip(images.files, images.masks, strict=True))) == ("solo", in_folder())
    for index, label in enumerate((1, 0)):  # in the source's order
        picture, mask_HW = picture_and_mask(images, index)
        assert np.array(picture).max() == 10 * index
        assert (mask_HW == label).all()


def test_colours_meet_a_mapping(tmp_path):
    file = solo(tmp_path, colours=True)
    (tmp_path / "classes.yaml").write_text("classes: {sky: '#000000', road: '#282828'}")
    images = load_masked_domain(MaskedManifestDomain(dataset="masked-manifest", root=tmp_path, file=file))
    assert images.name == "pairs"
    assert [int(images.mask(index)[0, 0]) for index in range(2)] == [0, 1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("path", "label")], r"no column mask, .* it must name path and mask"),
        (
            [(' {"info":{"url":"' + 140_000 * "x",)],
            r"pairs\.csv: a JSON document; write a CSV file with .* and mask",
        ),
        ([("[id]", "path", "mask")], r"no rows below the first line"),
        ([(999 * "x", "y")], r"no column mask, path, for the first line is 'x{99}'; it must name"),
        ([("path", "mask")], r"no rows below the first line; add a path and a mask"),
        ([("path", "mask"), ("a.png", "")], r":2: no path or no mask"),
        ([("path", "mask"), ("a.png", "../m.png")], r":2: '\.\./m\.png' leaves the data folder"),
        ([("path", "mask"), ("a.png", "./a.png")], r":2: 'a\.png' is its own mask"),
        ([("path", "mask"), ("a.png", "m.png"), ("a.png", "n.png")], r":3: 'a\.png' is in line 2 too"),
    ],
)
def test_lists_that_do_not_pair_are_one_line(tmp_path, rows, message):
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(UserError, match=message):
        masked_manifest(tmp_path, written(tmp_path / "pairs.csv", rows), name="x")


def test_a_run_of_listed_pairs_is_that_of_the_folders(masked_recipe_dict, masked_tree, tmp_path):
    rows = [(f"images/{index}.png", f"masks/{index}.png") for index in range(6)]
    file = written(tmp_path / "pairs.csv", [("path", "mask"), *rows])
    listed = {"dataset": "masked-manifest", "root": str(masked_tree), "file": str(file), "name": "x"}
    scores = []
    for name, domain in (("folder", masked_recipe_dict["data"]["source"] | {"name": "x"}), ("list", listed)):
        masked_recipe_dict["data"] |= {"source": domain, "target": copied(domain, tmp_path / name)}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(masked_recipe_dict))
        result = command("csg-train", "run", f"{name}.yaml", "--out", name, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        record = json.loads((tmp_path / name / "segmentation-target.json").read_text())
        scores.append((record["confusion"], record["data"]["identity"]))
    assert scores[0] == scores[1]
