"""The cache of decoded pictures: the bytes of `decode`, found by every reader, refused where it is old or damaged."""

import dataclasses
import json
import os
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image

from csg_train.cli import main
from csg_train.data import cache
from csg_train.data.cache import build_cache, decoded_bytes, picture_source
from csg_train.data.readers.driving import gta5
from csg_train.data.readers.images import ImageSet, decode, image_folder
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import MaskedSet, decode_mask, picture_and_mask
from csg_train.data.readers.store import Store, write_store
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.checkpoint import load_checkpoint
from tests.commands import assert_user_error, command
from tests.conftest import CLASSES


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data cache of its own for every test."""
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path / "data-cache"))
    return tmp_path / "data-cache"


def quiet(_line: str) -> None: ...


def left(folder: Path) -> list[str]:
    """What lies in the folder of the stores, locks left out."""
    return sorted(path.name for path in (folder / "pictures").iterdir() if path.suffix != ".lock")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """One picture of every kind that `decode` treats in its own way; no two of one size."""
    rng = np.random.default_rng(0)

    def noise(height: int, width: int, *channels: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (height, width, *channels), dtype=np.uint8))

    root = tmp_path / "odd"
    (root / "cat").mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(20, 31, 3).save(root / "cat" / "rgb.png")
    noise(21, 32, 4).save(root / "cat" / "rgba.png")
    noise(22, 33).save(root / "cat" / "grey.png")
    noise(23, 34, 2).save(root / "cat" / "grey-alpha.png")
    noise(24, 35).convert("P").save(root / "cat" / "palette.png")
    noise(25, 36).convert("P").save(root / "cat" / "palette-transparent.png", transparency=7)
    noise(26, 37, 3).save(root / "cat" / "turned.jpg", exif=turned)
    Image.new("CMYK", (38, 27), (0, 200, 90, 10)).save(root / "cat" / "cmyk.jpg")
    noise(28, 39).convert("1").save(root / "cat" / "bits.png")
    noise(29, 1, 4).save(root / "cat" / "narrow.webp", lossless=True)
    return root


def test_every_kind_of_picture_is_what_decoding_gives(odd: Path) -> None:
    images = image_folder(odd, name="odd")
    build_cache(images, quiet)
    opened = image_folder(odd, name="another name")
    for index, file in enumerate(images.files):
        wanted, found = decode(images.path(index)), opened.picture(index)
        assert (found.mode, found.size) == (wanted.mode, wanted.size), file
        assert found.tobytes() == wanted.tobytes(), file
    assert opened.store is not None
    assert {opened.picture(index).mode for index in range(len(opened))} == {"RGB", "RGBA"}
    assert opened.picture(images.files.index("cat/turned.jpg")).size == (26, 37)


def test_pictures_are_kept_reduced(odd: Path) -> None:
    """Beside a store of the whole ones; the narrow picture is shorter already."""
    build_cache(image_folder(odd, name="odd"), quiet)
    images, opened = (dataclasses.replace(image_folder(odd, name="odd"), shorter_side=16) for _ in range(2))
    assert images.store is None
    build_cache(images, quiet)
    sizes = {file: opened.picture(index).size for index, file in enumerate(opened.files)}
    assert opened.store is not None
    assert sizes["cat/rgb.png"] == (round(31 * 16 / 20), 16)
    assert sizes["cat/turned.jpg"] == (16, round(37 * 16 / 26))
    assert sizes["cat/narrow.webp"] == (1, 29)
    for index in range(len(images)):
        assert opened.picture(index).tobytes() == images.read(index).tobytes()


def test_the_size_on_disk_is_known_before(odd: Path, masked_tree: Path) -> None:
    whole = image_folder(odd, name="odd")
    for images in (whole, dataclasses.replace(whole, shorter_side=24), masked_folder(masked_tree)):
        lines: list[str] = []
        store = build_cache(images, lines.append)
        assert decoded_bytes(images) == len(store.pixels)
        assert f"{len(store.pixels) / 1e6:.1f} MB" in lines[0]
    assert len(store.pixels) == 6 * 36 * 40 * (3 + 1)


def test_masks_are_cached_as_training_ids(masked_tree: Path) -> None:
    images = masked_folder(masked_tree)
    build_cache(images, quiet)
    for classes in (CLASSES, CLASSES[::-1]):  # another order of classes is another map, which has no store
        opened = masked_folder(masked_tree, classes=classes)
        assert (opened.store is not None) == (classes == CLASSES)
        for index in range(len(opened)):
            picture, mask_HW = picture_and_mask(opened, index)
            assert picture.tobytes() == decode(images.path(index)).tobytes()
            assert np.array_equal(mask_HW, decode_mask(opened.mask_path(index), opened.ids))


def test_pictures_and_masks_of_different_size_are_still_refused(tmp_path: Path) -> None:
    for folder, side in (("images", 8), ("labels", 9)):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, side), 7).save(tmp_path / folder / "00001.png")
    build_cache(gta5(tmp_path, "all"), quiet)
    with pytest.raises(UserError, match=r"images/00001\.png has 8x8 pixels but labels/00001\.png has 8x9"):
        picture_and_mask(gta5(tmp_path, "all"), 0)


@pytest.fixture
def cached(trees: Path, tmp_path: Path) -> ImageSet:
    """A cached copy of the tiny source, listed again."""
    shutil.copytree(trees / "source", tmp_path / "source")
    build_cache(image_folder(tmp_path / "source", name="source"), quiet)
    return image_folder(tmp_path / "source", name="source")


def test_a_whole_cache_serves_who_may_not_write_there(cached: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_lock: FileLock, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert build_cache(cached, quiet).intact()
    cached.store_path.unlink()
    with pytest.raises(UserError, match=r"cannot write \(Permission denied\); set CSG_DATA_DIR"):
        build_cache(cached, quiet)


def scramble(images: ImageSet | MaskedSet) -> None:
    """Overwrite every file with zeros, behind the cache's back: same size, same time."""
    for file in images.stored_files:
        path = images.root / file
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("seconds", [-(10**9), 10**10])
def test_files_of_any_date_are_cached(seconds: int, trees: Path, tmp_path: Path) -> None:
    """The year 2286 has more nanoseconds than 64 bits: a traceback."""
    source = shutil.copytree(trees / "source", tmp_path / "source")
    images = image_folder(source, name="photos")
    for index in range(len(images)):
        os.utime(images.path(index), (seconds, seconds))
    build_cache(images, report=quiet)
    assert picture_source(image_folder(source, name="photos")).endswith(str(images.store_path))


def test_files_are_not_opened_again(cached: ImageSet) -> None:
    wanted = [decode(cached.path(index)).tobytes() for index in range(len(cached))]
    scramble(cached)
    assert [cached.picture(index).tobytes() for index in range(len(cached))] == wanted


def test_a_set_travels_without_its_pixels(cached: ImageSet) -> None:
    assert cached.store is not None
    sent = pickle.dumps(cached)
    assert len(sent) < len(cached.store.pixels) / 10
    assert pickle.loads(sent).picture(3).tobytes() == cached.picture(3).tobytes()  # noqa: S301 - our own


def test_the_line_of_a_run_says_where_pictures_come_from(cached: ImageSet, trees: Path) -> None:
    assert picture_source(cached) == f"12 pictures of source, from the cache {cached.store_path}"
    target = image_folder(trees / "target", name="target")
    assert picture_source(target) == "9 pictures of target, decoded from their files"


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_a_changed_picture_is_refused_by_name(cached: ImageSet, change: str) -> None:
    path = cached.path(5)
    if change == "content":
        Image.new("RGB", (9, 9)).save(path)
    elif change == "time":  # of the same size: the time alone gives it away
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        path.unlink()
    with pytest.raises(UserError) as caught:
        cached.picture(0)
    assert str(path) in caught.value.format_message()
    if change != "gone":
        assert "csg-train data cache" in caught.value.format_message()
        build_cache(cached, quiet)
        assert image_folder(cached.root, name="again").picture(5).tobytes() == decode(path).tobytes()


def test_another_list_of_files_is_another_cache(cached: ImageSet) -> None:
    fewer = ImageSet("fewer", cached.root, cached.files[1:], cached.labels[1:], cached.classes)
    assert fewer.store is None
    assert fewer.picture(0).tobytes() == cached.picture(1).tobytes()


DAMAGE = {
    "empty": lambda data: b"",
    "short": lambda data: data[:100],
    "truncated": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "pixels missing": lambda data: data[5:],
    "table": lambda data: data[:-200] + bytes([data[-200] ^ 1]) + data[-199:],
    "other format": lambda data: data.replace(b"csg-pictures/1", b"csg-pictures/2"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_refused_and_rebuilt(cached: ImageSet, damage: str) -> None:
    path = cached.store_path
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](whole))
    with pytest.raises(UserError, match=r"damaged cache; rebuild it: csg-train data cache RECIPE") as caught:
        cached.picture(0)
    assert str(path) in caught.value.format_message()
    lines: list[str] = []
    build_cache(cached, lines.append)
    assert lines[0].startswith("replacing")
    assert path.read_bytes() == whole


def test_the_command_reads_every_pixel_of_a_cache_that_is_there(cached: ImageSet) -> None:
    lines: list[str] = []
    build_cache(cached, lines.append)
    assert lines == []
    data = bytearray(cached.store_path.read_bytes())
    data[100] ^= 1
    cached.store_path.write_bytes(data)
    build_cache(cached, lines.append)
    assert "hash" in lines[0]
    data[100] ^= 1
    assert cached.store_path.read_bytes() == data


def test_an_open_store_does_not_see_one_that_replaces_it(cached: ImageSet) -> None:
    before = cached.picture(0).tobytes()
    Image.new("RGB", (9, 9)).save(cached.path(0))
    build_cache(cached, quiet)
    assert cached.picture(0).tobytes() == before
    assert image_folder(cached.root, name="new").picture(0).size == (9, 9)


@pytest.fixture
def uncached(trees: Path, tmp_path: Path) -> ImageSet:
    shutil.copytree(trees / "target", tmp_path / "target")
    return image_folder(tmp_path / "target", name="target")


def test_a_bad_picture_leaves_nothing(uncached: ImageSet, data_dir: Path) -> None:
    path = uncached.path(4)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot decode") as caught:
        build_cache(uncached, quiet)
    assert str(path) in caught.value.format_message()
    assert left(data_dir) == []


def test_a_picture_that_changes_while_it_is_cached_leaves_nothing(uncached: ImageSet, data_dir: Path) -> None:
    """The cache stayed, and every run on the pictures was refused until it was removed."""

    def read(index: int) -> np.ndarray:
        pixels = np.array(uncached.read(index))
        if index == 4:
            os.utime(uncached.path(0), ns=(1, 1))
        return pixels

    with pytest.raises(UserError, match="changed since it was cached"):
        write_store(uncached.store_path, uncached.root, uncached.stored_files, read)
    assert left(data_dir) == []
    assert dataclasses.replace(uncached).store is None


def test_an_interrupt_leaves_nothing_and_a_killed_build_is_cleared(
    uncached: ImageSet, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> Image.Image:
        if path == uncached.path(6):
            raise KeyboardInterrupt
        return decode(path)

    monkeypatch.setattr("csg_train.data.readers.images.decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_cache(uncached, quiet)
    assert left(data_dir) == []
    (data_dir / "pictures" / f".{uncached.store_path.name}.abc.tmp").write_bytes(b"half")
    monkeypatch.undo()
    build_cache(uncached, quiet)
    assert left(data_dir) == [uncached.store_path.name]


def test_a_disk_that_is_too_small_is_refused_before_decoding(
    uncached: ImageSet, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = decoded_bytes(uncached) - 1
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, free))
    monkeypatch.setattr("csg_train.data.readers.images.decode", lambda _: pytest.fail("decoded"))
    with pytest.raises(UserError, match="CSG_DATA_DIR"):
        build_cache(uncached, quiet)
    assert left(data_dir) == []


def test_a_disk_that_is_full_meanwhile_is_one_line(uncached: ImageSet, data_dir: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, before[1]))
    try:
        with pytest.raises(UserError, match="cannot write") as caught:
            build_cache(uncached, quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(uncached.store_path) in caught.value.format_message()
    assert left(data_dir) == []


def test_two_builders_at_once_decode_once(uncached: ImageSet, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    both = threading.Event()

    def slowly(path: Path) -> Image.Image:
        both.wait(10)
        decoded.append(path)
        return decode(path)

    def line(text: str) -> None:
        if text.startswith("waiting"):
            both.set()

    monkeypatch.setattr("csg_train.data.readers.images.decode", slowly)
    stores: list[Store] = []
    builders = [threading.Thread(target=lambda: stores.append(build_cache(uncached, line))) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(30)
    assert both.is_set()
    assert decoded == [uncached.path(index) for index in range(len(uncached))]
    assert stores[0].path == stores[1].path
    assert left(data_dir) == [uncached.store_path.name]


def run(recipe: dict, folder: Path) -> tuple[str, dict, list[list[int]]]:
    """Train and measure with the real command: log, weights and the target's confusion counts."""
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    main(["run", str(folder / "tiny.yaml"), "--device", "cpu", "--out", str(folder)], standalone_mode=False)
    record = next(path for path in folder.glob("*-target.json") if not path.name.startswith("confusion"))
    confusion = json.loads(record.read_text())["confusion"]
    return (folder / "log.jsonl").read_text(), load_checkpoint(folder / "ckpt.pt").model, confusion


@pytest.mark.parametrize(
    ("task", "unread"),
    [("recipe_dict", True), ("masked_recipe_dict", True)],
    ids=["classification", "segmentation"],
)
def test_a_run_from_the_cache_equals_one_without(
    task: str, unread: bool, trees: Path, masked_tree: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    recipe = request.getfixturevalue(task)
    for split in ("source", "target"):
        root = tmp_path / "data" / split
        shutil.copytree(recipe["data"][split]["root"], root)
        recipe["data"][split] = recipe["data"][split] | {"root": str(root)}
    log, model, confusion = run(recipe, tmp_path / "decoded")
    main(["data", "cache", str(tmp_path / "decoded" / "tiny.yaml")], standalone_mode=False)
    if unread:
        for split in ("source", "target"):
            scramble(load_split(parse_recipe(recipe, origin="test").data, split))
    cached_log, cached_model, cached_confusion = run(recipe, tmp_path / "cached")
    assert cached_log == log
    assert all(torch.equal(value, cached_model[name]) for name, value in model.items())
    assert cached_confusion == confusion


def test_command_line(masked_recipe_dict: dict, masked_tree: Path, tmp_path: Path, data_dir: Path) -> None:
    root = tmp_path / "masked"
    shutil.copytree(masked_tree, root)
    masked_recipe_dict["data"] |= {"source": {"dataset": "masked-folder", "root": str(root)}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(masked_recipe_dict))
    built = command("csg-train", "data", "cache", "tiny.yaml", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    lines = built.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["source", "source", "target", "target"]
    assert "decoding 12 files to 0.0 MB" in lines[0]
    assert f"6 pictures, 0.0 MB in {data_dir / 'pictures'}" in lines[1]
    assert len(left(data_dir)) == 2
    Image.new("RGB", (9, 9)).save(root / "images" / "3.png")
    stale = command("csg-train", "run", "tiny.yaml", "--device", "cpu", cwd=tmp_path)
    assert_user_error(stale, str(root / "images" / "3.png"), "changed since", "csg-train data cache")


def test_metadata_that_cannot_be_read_is_no_word_of_the_cache(recipe_dict: dict, trees: Path, tmp_path: Path) -> None:
    """Pillow's warning was printed; where warnings are errors it was a traceback."""
    shutil.copytree(trees / "source", tmp_path / "source")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30
    picture = next((tmp_path / "source").rglob("*.png"))
    Image.new("RGB", (9, 9)).save(picture.with_suffix(".jpg"), exif=exif)
    recipe_dict["data"]["source"]["root"] = str(tmp_path / "source")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe_dict))
    built = command("csg-train", "data", "cache", "tiny.yaml", cwd=tmp_path)
    assert (built.returncode, built.stderr) == (0, "")
