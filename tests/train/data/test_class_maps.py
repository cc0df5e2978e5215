"""Mapping files: ids of any depth and colours to classes, several to one; two domains with lists of their own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from csg_train.data.readers.class_map import packaged_maps, read_class_map
from csg_train.data.readers.driving import CLASSES, LABELS
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.errors import UserError
from csg_train.recipes.domains import CityscapesDomain, GTA5Domain, MaskedFolderDomain, SynthiaDomain
from csg_train.recipes.pictures import load_masked_domain
from tests.commands import assert_user_error, command
from tests.conftest import copied
from tests.train.data.test_masks import CITY, gta5_tree, picture, png, save

THREE = {"flat": [7, 8], "vehicle": [26, 27, 28], "nature": 21}


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def folder(root: Path, mask: np.ndarray | bytes, content: object | None = None) -> MaskedFolderDomain:
    """One pair in the user's layout, with ``classes.yaml`` beside it."""
    save(root / "images/a.png", picture())
    if isinstance(mask, bytes):
        (root / "masks").mkdir(parents=True)
        (root / "masks/a.png").write_bytes(mask)
    else:
        save(root / "masks/a.png", mask)
    if content is not None:
        written(root / "classes.yaml", content)
    return MaskedFolderDomain(dataset="masked-folder", root=root)


@pytest.mark.parametrize("depth", [8, 16])
def test_ids_of_8_and_16_bits_several_to_one(tmp_path: Path, depth: int) -> None:
    high = 200 if depth == 8 else 40_000
    raw = np.array([[3, 9, high], [0, high, 4]])
    domain = folder(
        tmp_path, png(raw, depth=depth, kind=0), {"classes": {"dog": [high, 3], "cat": 9, "cow": 4}, "ignore": 0}
    )
    images = load_masked_domain(domain)
    assert images.classes == ("dog", "cat", "cow")
    assert images.mask(0).tolist() == [[0, 1, 0], [255, 0, 2]]


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_matched_exactly(tmp_path: Path, channels: int) -> None:
    red, blue, grey = (128, 0, 0, 255), (0, 0, 142, 255), (9, 9, 9, 255)
    pixels = np.array([[red, blue, grey], [grey, red, red]], dtype=np.uint8)[..., :channels]
    mapping = {"classes": {"a": ["#00008E"], "b": ["#800000"]}, "ignore": ["#090909"]}
    assert load_masked_domain(folder(tmp_path, pixels, mapping)).mask(0).tolist() == [[1, 0, 255], [255, 1, 1]]


def test_an_unmapped_id_or_colour_names_file_value_and_fix(tmp_path: Path) -> None:
    cases = {
        "ids": (np.array([[0, 7, 7], [0, 0, 0]], dtype=np.uint8), {"classes": {"a": 0}}, r"label id 7 \(2 pixels\)"),
        "colours": (picture() + np.uint8(1), {"classes": {"a": "#000000"}}, r"colour #010101 \(6 pixels\)"),
    }
    for name, (mask, mapping, what) in cases.items():
        images = load_masked_domain(folder(tmp_path / name, mask, mapping))
        expected = (
            rf"masks/a\.png: {what} is in no class of .*{name}/classes\.yaml; add it to a class there, or to ignore"
        )
        with pytest.raises(UserError, match=expected):
            images.mask(0)


def test_masks_of_another_kind_than_the_mapping(tmp_path: Path) -> None:
    ids, colours = {"classes": {"a": 0}}, {"classes": {"a": "#000000"}}
    transparent = np.zeros((2, 3, 4), dtype=np.uint8)
    for name, mask, mapping, message in (
        ("1", picture(), ids, r"a mask with colours; save .* or say in .*1/classes\.yaml, which has ids, which colour"),
        ("2", picture()[..., 0], colours, "not an RGB mask of 8 bits a channel"),
        ("3", transparent, colours, "transparent pixels"),
    ):
        with pytest.raises(UserError, match=message):
            load_masked_domain(folder(tmp_path / name, mask, mapping)).mask(0)


def test_a_palette_mask_under_a_mapping_of_colours(tmp_path: Path) -> None:
    """Its colours count, in whatever order the file has them; what is seen through has none."""
    mapping = {"classes": {"a": "#ff0000", "b": "#00ff00"}}
    images = load_masked_domain(folder(tmp_path, picture(), mapping))
    for palette in ([255, 0, 0, 0, 255, 0], [0, 255, 0, 255, 0, 0]):
        mask = Image.fromarray(np.array([[0, 1, 0], [0, 0, 1]], dtype=np.uint8))
        mask.putpalette(palette)
        mask.save(images.mask_path(0))
        first = int(palette[0] == 0)
        assert images.mask(0).tolist() == [[first, 1 - first, first], [first, first, 1 - first]]
    mask.save(images.mask_path(0), transparency=1)
    with pytest.raises(UserError, match="transparent pixels"):
        images.mask(0)
    mask.putpalette([255, 0, 0])
    mask.save(images.mask_path(0))
    with pytest.raises(UserError, match="an index that its palette lacks"):
        images.mask(0)
    mask.putpalette([255, 0, 0, 0, 0, 9])
    mask.save(images.mask_path(0))
    with pytest.raises(UserError, match=r"colour #000009 \(2 pixels\) is in no class of .*classes\.yaml"):
        images.mask(0)


def test_the_commonest_unknown_colour_is_named_and_a_smoothed_mask_is_called_so(tmp_path: Path) -> None:
    mask, mapping = np.zeros((6, 9, 3), dtype=np.uint8), {"classes": {"a": "#000000"}}
    mask[:2, 0], mask[:3, 1] = 7, 9
    images = load_masked_domain(folder(tmp_path / "few", mask, mapping))
    with pytest.raises(UserError, match=r"colour #090909 \(3 pixels, the commonest of 2 such\) is in no .* add it"):
        images.mask(0)
    mask[..., 0] = np.arange(54).reshape(6, 9)
    images = load_masked_domain(folder(tmp_path / "many", mask, mapping))
    with pytest.raises(UserError, match=r"the commonest of 5\d such\) .* or to ignore; so many are of .* smoothing"):
        images.mask(0)


def test_masks_of_one_class_of_several_train_nothing(masked_recipe_dict: dict, tmp_path: Path) -> None:
    """White for the object: 255, which is ignored unless a mapping names it."""
    for folder_of in ("images", "masks"):
        pixels = np.zeros((64, 64), dtype=np.uint8)
        pixels[:9] = 255
        Image.fromarray(pixels).save(written(tmp_path / f"own/{folder_of}/a.png", ""))
    written(tmp_path / "own/classes.txt", "background\nobject\n")
    domain = {"dataset": "masked-folder", "root": str(tmp_path / "own")}
    masked_recipe_dict["data"] |= {"source": domain, "target": copied(domain, tmp_path)}
    written(tmp_path / "own.yaml", masked_recipe_dict)
    for arguments in (("data", "check", "own.yaml"), ("run", "own.yaml", "--out", "out")):
        result = command("csg-train", *arguments, cwd=tmp_path)
        assert_user_error(result, "every pixel of its masks is background or ignored", "255 is ignored", "classes.yaml")
    for root in ("own", "target"):
        (tmp_path / root / "classes.txt").unlink()
        written(tmp_path / root / "classes.yaml", {"classes": {"background": 0, "object": 255, "sky": 9}})
    result = command("csg-train", "run", "own.yaml", "--out", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "source: no mask shows sky" in result.stdout


def test_two_domains_with_lists_of_their_own_meet_in_common_classes(tmp_path: Path) -> None:
    """GTA5's ids and a user's colours, in the order of the source."""
    gta = GTA5Domain(
        dataset="gta5",
        root=gta5_tree(tmp_path / "gta"),
        mapping=written(tmp_path / "gta.yaml", {"classes": {"flat": [7], "rest": [21, 11]}, "ignore": [34, 0, 4]}),
    )
    source = load_masked_domain(gta)
    assert source.mask(0).tolist() == [[0, 255, 1], [255, 1, 255]]
    own = folder(tmp_path / "own", picture(), {"classes": {"rest": "#ffffff", "flat": "#000000"}})
    target = load_masked_domain(own, source.classes)
    assert (target.classes, target.mask(0).tolist()) == (("flat", "rest"), [[0] * 3] * 2)
    fewer = folder(tmp_path / "fewer", picture(), {"classes": {"flat": "#000000"}})
    with pytest.raises(UserError, match=r"fewer/classes\.yaml: classes differ from the source's: missing \['rest'\]"):
        load_masked_domain(fewer, source.classes)


def test_synthia_and_cityscapes_take_mappings_of_the_ids_in_their_files(tmp_path: Path) -> None:
    samples = np.zeros((2, 3, 3), dtype=np.int64)
    samples[..., 0] = [[3, 22, 1], [8, 3, 0]]
    save(tmp_path / "s/RGB/0.png", picture())
    (tmp_path / "s/GT/LABELS").mkdir(parents=True)
    (tmp_path / "s/GT/LABELS/0.png").write_bytes(png(samples, depth=16, kind=2))
    mapping = written(tmp_path / "s.yaml", {"classes": {"flat": [3, 22], "vehicle": 8}, "ignore": [0, 1]})
    synthia = load_masked_domain(SynthiaDomain(dataset="synthia", root=tmp_path / "s", mapping=mapping))
    assert synthia.mask(0).tolist() == [[0, 0, 255], [1, 0, 255]]
    save(tmp_path / "c" / CITY, picture())
    name = CITY.replace("leftImg8bit", "gtFine", 1).replace("leftImg8bit", "gtFine_labelTrainIds")
    save(tmp_path / "c" / name, picture()[..., 0])
    city = CityscapesDomain(dataset="cityscapes", root=tmp_path / "c", mapping=mapping)
    with pytest.raises(UserError, match=r"labelIds\.png: no such file"):
        load_masked_domain(city)


def test_packaged_maps_are_cityscapes_classes() -> None:
    assert packaged_maps() == ["bdd100k", "cityscapes", "mapillary-vistas-1.2"]
    bdd, city, vistas = (read_class_map(Path(name)) for name in packaged_maps())
    assert bdd.classes == city.classes == vistas.classes == CLASSES
    assert city.ids == {**dict.fromkeys([*range(35), 255], 255), **{label.id: i for i, label in enumerate(LABELS)}}
    assert bdd.ids == {**{index: index for index in range(19)}, 255: 255}
    assert sorted(vistas.ids) == list(range(66))
    # classes that both sets draw in one colour are one class: Vistas' ids from its own colours (config.json)
    own = {13: (128, 64, 128), 15: (244, 35, 232), 17: (70, 70, 70), 6: (102, 102, 156), 3: (190, 153, 153)}
    own |= {45: (153, 153, 153), 48: (250, 170, 30), 50: (220, 220, 0), 30: (107, 142, 35), 29: (152, 251, 152)}
    own |= {27: (70, 130, 180), 19: (220, 20, 60), 20: (255, 0, 0), 55: (0, 0, 142), 61: (0, 0, 70)}
    own |= {54: (0, 60, 100), 58: (0, 80, 100), 57: (0, 0, 230), 52: (119, 11, 32)}
    assert [vistas.classes[vistas.ids[key]] for key in own] == [
        next(label.name for label in LABELS if label.colour == colour) for colour in own.values()
    ]


def test_a_mask_without_the_ending_is_none(masked_tree: Path, tmp_path: Path) -> None:
    """It may hold colours, or ids of another kind, and was read all the same."""
    shutil.copytree(masked_tree, tmp_path / "m")
    for number in range(5):
        (tmp_path / "m" / "masks" / f"{number}.png").rename(tmp_path / "m" / "masks" / f"{number}_id.png")
    with pytest.raises(UserError, match=r"masks/5\.png: without the ending '_id' of a mask"):
        masked_folder(tmp_path / "m", ending="_id")
    (tmp_path / "m" / "masks" / "5.png").rename(tmp_path / "m" / "masks" / "5_id.png")
    assert len(masked_folder(tmp_path / "m", ending="_id")) == 6


def test_bdds_files_by_folder_and_ending(tmp_path: Path) -> None:
    save(tmp_path / "seg/images/val/x.png", picture())
    save(tmp_path / "seg/labels/val/x_train_id.png", np.array([[0, 18, 255], [1, 2, 3]], dtype=np.uint8))
    domain = MaskedFolderDomain(
        dataset="masked-folder",
        root=tmp_path / "seg",
        images="images/val",
        masks="labels/val",
        ending="_train_id",
        mapping="bdd100k",
    )
    images = load_masked_domain(domain, CLASSES)
    assert (images.files, images.masks) == (("images/val/x.png",), ("labels/val/x_train_id.png",))
    assert images.mask(0).tolist() == [[0, 18, 255], [1, 2, 3]]
    for bad in ("../x", "/x", ""):
        with pytest.raises(ValueError, match="no folder below root"):
            MaskedFolderDomain(dataset="masked-folder", root=tmp_path, images=bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "not a mapping of classes; give 'classes'"),
        ({"classes": {}}, "not a mapping of classes"),
        ({"classes": {"a": 0}, "void": 1}, "not a mapping of classes"),
        ({"classes": {"a": [0, 1], "b": 1}}, "b: 1 is there twice"),
        ({"classes": {"a": 0}, "ignore": [0]}, "ignore: 0 is there twice"),
        ({"classes": {"a": 0, "b": "#000001"}}, "has ids and colours"),
        ({"classes": {"a": [0, 1], "b": "#000000"}}, "has ids and colours"),
        ({"classes": {"a": 65_536}}, "a: 65536 is no id of 0 to 65535"),
        ({"classes": {"a": True}}, "a: True is no id"),
        ({"classes": {"a": "red"}}, "a: 'red' is no id of 0 to 65535 and no colour '#rrggbb'"),
        ({"classes": {"a": []}}, "a: no id or colour"),
        ("classes: {no: 1}", "what YAML reads otherwise is put in quotes"),
        ("classes: {a: 1, a: 2}", "a: written twice"),
    ],
)
def test_faults_of_a_mapping_are_one_line_with_its_name(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path / "classes.yaml", content)
    with pytest.raises(UserError, match=message) as caught:
        read_class_map(path)
    assert caught.value.format_message().startswith(str(path))
    assert "\n" not in caught.value.format_message()


def test_a_missing_mapping_and_two_lists_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none\.yaml: no such mapping file.* give a file or one of: bdd100k, cityscapes, mapillary"
    ):
        read_class_map(tmp_path / "none.yaml")
    domain = folder(tmp_path, picture(), {"classes": {"a": "#000000"}})
    written(tmp_path / "classes.txt", "a")
    with pytest.raises(UserError, match=r"classes\.yaml: beside classes\.txt, and only one of them"):
        load_masked_domain(domain)


def test_data_check_and_run_say_the_same_of_an_unmapped_colour(masked_recipe_dict: dict, tmp_path: Path) -> None:
    root = tmp_path / "own"
    for index in range(2):
        Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(written(root / f"images/{index}.png", ""))
        mask = np.zeros((64, 64, 3), dtype=np.uint8)
        mask[0, 0] = (0, 0, index)
        Image.fromarray(mask).save(written(root / f"masks/{index}.png", ""))
    written(root / "classes.yaml", {"classes": {"a": "#000000", "b": "#ffffff"}})
    domain = {"dataset": "masked-folder", "root": str(root)}
    masked_recipe_dict["data"] |= {"source": domain, "target": copied(domain, tmp_path)}
    written(tmp_path / "own.yaml", masked_recipe_dict)
    lines = []
    for arguments in (("data", "check", "own.yaml"), ("run", "own.yaml", "--out", "out")):
        result = command("csg-train", *arguments, cwd=tmp_path)
        assert result.returncode == 2, result.stderr
        lines.append(" ".join(result.stderr.split()))
    for line in lines:
        assert "masks/1.png: colour #000001 (1 pixels) is in no class of" in line
    assert not (tmp_path / "out").exists()
