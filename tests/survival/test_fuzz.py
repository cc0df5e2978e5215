"""Hostile input of every kind that is read: accepted, or refused in one line; `make fuzz` takes more of it.

Each ``test_*`` of a single file below a fuzz test is a fault that it found, or one of the known lies.
"""

import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from csg_train import engine
from csg_train.checkpoint import Checkpoint, load_checkpoint, load_optimizer, load_state
from csg_train.data.check import pixel_hash
from csg_train.data.cityscapes import gta5
from csg_train.data.domains import load_split
from csg_train.data.images import decode
from csg_train.data.lists import VISDA_CLASSES, manifest, visda17
from csg_train.data.masks import MaskedSet, decode_mask, masked_folder, mismatches
from csg_train.data.transforms import evaluation_view, training_view
from csg_train.errors import UserError
from csg_train.importing import LAYOUTS, _read, _unwrap, map_state
from csg_train.models.backbones import BACKBONES, Backbone, load_weights
from csg_train.optimizer import build_optimizer
from csg_train.recipe import load_recipe, parse_recipe, to_yaml
from csg_train.records import read_record
from csg_train.sweep import load_sweep, shard
from csg_train.tensors import load_tensors
from csg_train.yaml_files import parse_yaml
from tests.nested import equal
from tests.survival import tiny
from tests.survival.mutations import COUNTS, altered, damaged, fuzz, plain, refused_or_fine, words

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def counts():
    """Print the number of cases with ``pytest -s``."""
    yield
    for subject in sorted({subject for subject, _ in COUNTS}):
        print(f"\n{subject}: {COUNTS[subject, 'accepted']} accepted, {COUNTS[subject, 'refused']} refused", end="")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The tiny recipe and its data; a file ``secret`` lies outside ``data``."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "data").mkdir()
    (folder / "secret").write_text("outside")
    tiny.write_recipe(folder / "data", steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", tiny.SPEC)
        yield folder / "data"


# Recipes and sweeps

FRAGMENTS = [
    "a: &a [1, 2]\nb: *a\n",
    "&a [*a]",
    "<<: {x: 1}\n",
    "!!python/object/apply:os.system ['touch {marker}']",
    "!!python/name:os.system",
    "!!timestamp x",
    "!!int ''",
    "!!bool x",
    "2024-99-99",
    "{? [1] : 2}",
    "[" * 3000,
    "- " * 3000,
    "9" * 5000,
    "0x" + "f" * 5000,
    "1:" * 2000 + "1",
    "extends: ../../secret\n",
    "\x00",
    "\ufeff",
    "--- a\n--- b\n",
    "%YAML 9.9\n---\n",
]


def yaml_texts(base: dict):
    """A changed recipe as YAML; its text with a hostile part put in; any text."""
    good = yaml.safe_dump(base, sort_keys=False)
    return st.one_of(
        altered(base).map(lambda value: yaml.safe_dump(value, allow_unicode=True)),
        st.tuples(st.integers(0, len(good)), st.sampled_from(FRAGMENTS), st.integers(0, len(good))).map(
            lambda parts: good[: parts[0]] + parts[1] + good[parts[2] :]
        ),
        damaged(good.encode()).map(lambda content: content.decode("utf-8", errors="replace")),
        st.text(max_size=60),
    )


@fuzz
@given(data=st.data())
def test_recipes(place, data):
    path, marker = place / "fuzzed.yaml", place / "marker"
    base = yaml.safe_load((place / "tiny.yaml").read_text())
    text = data.draw(yaml_texts(base)).replace("{marker}", str(marker))
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    recipe = refused_or_fine("recipes", lambda: load_recipe(str(path)))
    if recipe is not None:
        assert parse_recipe(yaml.safe_load(to_yaml(recipe)), origin="again") == recipe
        refused_or_fine("folders of recipes", lambda: load_split(recipe.data, "source"))
    assert not marker.exists()


@fuzz
@given(
    overrides=st.lists(
        st.tuples(
            st.sampled_from(["train.steps", "method.name", "method", "data", "data.source.root", "a..b", "", "seed.x"]),
            st.one_of(st.sampled_from(FRAGMENTS), plain.map(repr), words, st.text(max_size=10)),
        ).map("=".join)
        | st.text(max_size=10),
        max_size=3,
    )
)
def test_overrides(place, overrides):
    refused_or_fine("overrides", lambda: load_recipe(str(place / "tiny.yaml"), overrides))


@fuzz
@given(data=st.data())
def test_sweeps(place, data):
    path = place / "sweep.yaml"
    base = {
        "recipe": str(place / "tiny.yaml"),
        "vary": {"method": {"base": ["method.name=baseline"], "o": ["method.name=oracle"]}, "seed": {"s0": ["seed=0"]}},
    }
    path.write_bytes(data.draw(yaml_texts(base)).encode("utf-8", errors="surrogatepass"))
    out = place / "out"
    for run in refused_or_fine("sweeps", lambda: load_sweep(path)) or []:
        assert (out / run.name).resolve().parent == out.resolve()


@pytest.mark.parametrize("name", ["..", "-x", "a/b", "."])
def test_names_of_a_sweep_are_names_of_folders_in_it(name, place):
    path = place / "named.yaml"
    path.write_text(yaml.safe_dump({"recipe": str(place / "tiny.yaml"), "vary": {"seed": {name: ["seed=0"]}}}))
    with pytest.raises(UserError, match="vary"):
        load_sweep(path)


def test_a_sweep_of_ten_billion_runs_is_refused_at_once(place):
    path = place / "huge.yaml"
    vary = {f"a{axis}": {f"v{value}": [] for value in range(10)} for axis in range(10)}
    path.write_text(yaml.safe_dump({"recipe": "digits", "vary": vary}))
    with pytest.raises(UserError, match="10000000000 runs"):
        load_sweep(path)


def test_a_shard_of_thousands_of_digits():
    with pytest.raises(UserError, match="expected i/n"):
        shard([], "1/" + "9" * 5000)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("&a [1, *a]", "alias"),
        ("a: &a {k: 1}\nb: {<<: [" + "*a, " * 9 + "*a]}", "alias"),
        ("[" * 5000, "recursion"),
        ("9" * 100, "63 bits"),
        ("x" * 70_000, "65536"),
        ("!!python/object/apply:os.getcwd []", "constructor"),
    ],
)
def test_yaml_without_bound_is_refused(text, part):
    with pytest.raises(ValueError, match=part):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("segmentation.foo=1", ("segmentation.foo", "output_stride")),
        ("data.source={dataset: gta5, root: x, foo: 1}", ("data.source.foo", "split")),
        ("data.source={dataset: masked-folder, root: x, foo: 1}", ("data.source.foo", "name")),
        ("method.foo=1", ("method.foo", "unknown key", "allowed: ")),
        ("method={name: csg, foo: 1}", ("method.foo", "queue_size")),
        ("train.lr_head=.inf", ("train.lr_head", "finite")),
        ("model.hidden=100000000000", ("model.hidden", "65536")),
    ],
)
def test_faults_of_a_recipe_are_named(override, parts, place):
    with pytest.raises(UserError) as error:
        load_recipe(str(place / "tiny.yaml"), [override])
    assert all(part in error.value.message for part in parts), error.value.message


def test_a_recipe_extends_packaged_ones_only(place):
    path = place / "extends.yaml"
    path.write_text(f"extends: {path.with_suffix('')}\n")  # itself, without end
    with pytest.raises(UserError, match="no packaged recipe"):
        load_recipe(str(path))


# Lists


@fuzz
@given(data=st.data())
def test_lists(place, data):
    lines = st.one_of(
        st.tuples(words | st.text(max_size=10), st.sampled_from(["bus", "0", "11", "12", "²", "9" * 5000, ""])),
        st.tuples(
            st.sampled_from(["bus/0.png", "car/0.png", "link/secret", "link.png"]), st.sampled_from(["bus", "1"])
        ),
    )
    content = data.draw(
        st.one_of(
            st.lists(lines).map(lambda rows: "path,label\n" + "\n".join(map(",".join, rows))),
            st.lists(lines).map(lambda rows: "\n".join(map(" ".join, rows))),
            st.text(max_size=60),
            st.just('path,label\n"' + "x" * 200_000),
        )
    ).encode("utf-8", errors="surrogatepass")
    content = data.draw(st.just(content) | damaged(content))
    root = place / "lists"
    (root / "train").mkdir(parents=True, exist_ok=True)
    for link, target in ((root / "link", place.parent), (root / "link.png", place.parent / "secret")):
        if not link.is_symlink():
            link.symlink_to(target)
    for path in (root / "m.csv", root / "train" / "image_list.txt", root / "gta5_train.txt"):
        path.write_bytes(content)
    for subject, call in {
        "CSV manifests": lambda: manifest(root, root / "m.csv", name="m"),
        "VisDA lists": lambda: visda17(root, "train"),
        "GTA5 lists": lambda: gta5(root, "train"),
    }.items():
        images = refused_or_fine(subject, call)
        for index in range(0 if images is None else len(images)):
            assert images.path(index).resolve().is_relative_to(root.resolve())


def test_links_of_a_list_out_of_its_root_are_refused(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.png").write_bytes(b"")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "file.png").symlink_to(tmp_path / "secret" / "a.png")
    (root / "loop").symlink_to("loop")
    for path in ("folder/a.png", "file.png", "loop", "x" * 5000):
        (root / "m.csv").write_text(f"path,label\n{path},bus\n")
        with pytest.raises(UserError, match=r"m\.csv:2: .* (leaves the data folder|is no path)"):
            manifest(root, root / "m.csv", name="m")


def test_a_linked_root_is_a_root(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    (tmp_path / "m.csv").write_text("path,label\na.png,bus\n")
    assert manifest(tmp_path / "root", tmp_path / "m.csv", name="m").files == ("a.png",)


# Files of tensors


@pytest.fixture(scope="module")
def whole(place):
    """A checkpoint of the tiny run."""
    recipe = load_recipe(str(place / "tiny.yaml"), ["evaluate.select=last"])
    return engine.train(recipe, place / "run", device=CPU, resume=False, overwrite=False, report=lambda *_: None)


def use(path: Path) -> Checkpoint:
    """Everything that is done with a checkpoint when it is measured or resumed."""
    saved = load_checkpoint(path)
    recipe = saved.resolved_recipe()
    network = saved.build_network(CPU)
    method = recipe.build_method()
    load_state(method, saved.method, path)
    load_optimizer(build_optimizer(network, method, recipe.train), saved.optimizer, path)
    return saved


def odd_tensors():
    return st.sampled_from(
        [
            torch.zeros(0),
            torch.zeros(3, 1),
            torch.zeros(1).expand(1 << 40),
            torch.zeros(2, dtype=torch.complex64),
            torch.eye(2).to_sparse(),
            torch.zeros(4, dtype=torch.uint8),
            torch.full((4,), float("nan")),
            torch.zeros(4, device="meta"),
        ]
    )


class Shell:
    """Pickles as a call of ``os.system``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.marker}",)


@fuzz
@given(data=st.data())
def test_damaged_bytes_of_a_checkpoint(place, whole, data):
    path = place / "damaged.pt"
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    saved = refused_or_fine("checkpoints, bytes", lambda: use(path))
    if saved is not None:  # what no tensor and no value depends on
        good = load_checkpoint(whole)
        assert all(equal(getattr(saved, name), getattr(good, name)) for name in ("recipe", "model", "optimizer", "rng"))


@fuzz
@given(data=st.data())
def test_changed_values_of_a_checkpoint(place, whole, data):
    content = torch.load(whole, weights_only=True)
    content["model"], content["method"] = dict(content["model"]), dict(content["method"])
    path = place / "changed.pt"
    torch.save(data.draw(altered(content, plain | odd_tensors())), path)
    refused_or_fine("checkpoints, values", lambda: use(path))


@fuzz
@given(data=st.data())
def test_starting_weights_and_released_files(place, data):
    good = dict(tiny.build().state_dict())
    path = place / "weights.pt"
    torch.save(data.draw(altered(good, plain | odd_tensors())), path)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    refused_or_fine("weights", lambda: load_weights(Backbone(tiny.SPEC), "tiny", path))

    def released():
        theirs, _ = _unwrap(_read(path)[0], path)
        return map_state(theirs, good, LAYOUTS["torchvision"], origin=str(path))

    refused_or_fine("released files", released)


@pytest.mark.parametrize("form", ["zip", "old", "plain pickle", "in the recipe"])
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(form, place, whole):
    marker, path = place / f"ran-{form}", place / "evil.pt"
    if form == "plain pickle":
        path.write_bytes(pickle.dumps(Shell(marker)))
    elif form == "in the recipe":
        torch.save(torch.load(whole, weights_only=True) | {"recipe": Shell(marker)}, path)
    else:
        torch.save({"a": Shell(marker)}, path, _use_new_zipfile_serialization=form == "zip")
    for call in (
        lambda: load_checkpoint(path),
        lambda: load_weights(Backbone(tiny.SPEC), "tiny", path),
        lambda: _read(path),
    ):
        assert refused_or_fine("pickles that run a command", call) is None
    assert not marker.exists()


def test_a_flipped_bit_of_a_weight_is_found(place, whole):
    """torch itself loads such a file without a word."""
    path = place / "flipped.pt"
    weight = load_checkpoint(whole).model["head.0.weight"].numpy().tobytes()
    content = bytearray(whole.read_bytes())
    content[content.index(weight) + 5] ^= 1
    path.write_bytes(content)
    assert not equal(torch.load(path, weights_only=True)["model"], torch.load(whole, weights_only=True)["model"])
    with pytest.raises(UserError, match="checksum"):
        load_checkpoint(path)


def test_a_compressed_archive_is_not_unpacked(place, whole):
    path = place / "bomb.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/99", bytes(1 << 26))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match="compressed"):
        load_checkpoint(path)


def test_a_tensor_that_claims_more_than_the_file_holds(place, whole):
    path = place / "claim.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = content.replace(b"K\x04K\x03K\x03K\x03", b"J\xff\xff\xff\x7fK\x03K\x03K\x03")
            new.writestr(entry.filename, content)
    assert path.read_bytes() != whole.read_bytes()
    with pytest.raises(UserError, match=r"claim\.pt"):
        use(path)


def test_values_that_double_at_every_level_are_named_in_short(place, whole):
    """2^60 values, shared: a few bytes in the file, more than there is time for in a message."""
    bomb: list = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    good, path = torch.load(whole, weights_only=True), place / "doubled.pt"
    for change in ({"format": bomb}, {"recipe": good["recipe"] | {"name": bomb}}, {"classes": bomb}):
        torch.save(good | change, path)
        assert refused_or_fine("checkpoints, values", lambda: use(path)) is None


@pytest.mark.parametrize("change", ["shape", "group", "text", "missing"])
def test_an_optimiser_state_that_does_not_fit_is_refused(change, place, whole):
    saved = load_checkpoint(whole)
    network, method = saved.build_network(CPU), saved.resolved_recipe().build_method()
    optimizer = build_optimizer(network, method, saved.resolved_recipe().train)
    state = saved.optimizer
    if change == "shape":
        state["state"][0]["momentum_buffer"] = torch.zeros(3)
    elif change == "group":
        del state["param_groups"][0]["momentum"]
    elif change == "text":
        state["state"] = "momentum"
    else:
        del state["param_groups"]
    with pytest.raises(UserError, match="optimiser state does not fit"):
        load_optimizer(optimizer, state, whole)


# Pictures and masks


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pictures() -> dict[str, bytes]:
    """A small picture of every mode and format that people have."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    deep = Image.fromarray(rng.integers(0, 65536, (9, 12), dtype=np.uint16))
    palette = colours.quantize(7)
    return {
        "rgb.png": encoded(colours, "PNG"),
        "grey.png": encoded(colours.convert("L"), "PNG"),
        "alpha.png": encoded(colours.convert("RGBA"), "PNG"),
        "grey-alpha.png": encoded(colours.convert("LA"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-alpha.png": encoded(palette, "PNG", transparency=b"\x00\x80"),
        "rgb-transparency.png": encoded(colours, "PNG", transparency=(1, 2, 3)),
        "bit.png": encoded(colours.convert("1"), "PNG"),
        "deep.png": encoded(deep, "PNG"),
        "rgb.jpg": encoded(colours, "JPEG"),
        "turned.jpg": encoded(colours, "JPEG", exif=exif),
        "cmyk.jpg": encoded(colours.convert("CMYK"), "JPEG"),
        "rgb.webp": encoded(colours, "WEBP", exif=exif),
        "rgb.bmp": encoded(colours, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "gif.png": encoded(palette, "GIF"),
        "tiff.png": encoded(colours, "TIFF"),
        "text.png": b"hello",
        "empty.png": b"",
    }


PICTURES = pictures()


def look(path: Path) -> Image.Image:
    """Everything that is done with a picture."""
    image = decode(path)
    for fit in ("crop", "pad"):
        assert evaluation_view(image, size=16, fit=fit).shape == (3, 16, 16)
        view = training_view(image, size=16, fit=fit, augment="randaugment", background="varied", rng=random.Random(0))
        assert view.shape == (3, 16, 16)
    pixel_hash(image)
    return image


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, place, data):
    path = place / name
    path.write_bytes(data.draw(damaged(PICTURES[name])))
    image = refused_or_fine("pictures", lambda: look(path))
    assert image is None or image.mode in ("RGB", "RGBA")


@pytest.mark.parametrize("name", PICTURES)
def test_whole_pictures_of_every_kind(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PICTURES[name])
    if name in ("deep.png", "gif.png", "tiff.png", "text.png", "empty.png"):
        with pytest.raises(UserError, match=name):
            look(path)
        return
    image = look(path)
    assert image.size == ((9, 12) if name == "turned.jpg" or name == "rgb.webp" else (12, 9))
    assert image.mode == ("RGBA" if "alpha" in name or "transparency" in name else "RGB")


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG file by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100_000, 100_000), (12_000, 12_000), (1, 60_000), (60_000, 2), (2**31 - 1, 1)])
def test_bombs_and_strips_are_refused_before_they_are_decoded(size, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size, 8, 0, zlib.compress(bytes(1 << 20))))
    with pytest.raises(UserError, match=r"bomb\.png"):
        look(path)
    if size[0] * size[1] > 1 << 26:
        with pytest.raises(UserError, match=r"bomb\.png"):
            decode_mask(path, {0: 0})


@pytest.mark.parametrize("size", [(16, 1600), (1600, 16), (1, 100)])
def test_a_long_picture_is_a_picture(size, tmp_path):
    path = tmp_path / "long.png"
    Image.new("RGB", size, (9, 9, 9)).save(path)
    assert look(path).size == size


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", ["grey.png", "palette.png", "sixteen.png", "rgb.jpg"])
def test_masks(name, place, data):
    rows = zlib.compress(b"".join(b"\x00" + b"\x00\x03" * 12 * 3 for _ in range(9)))
    good = png(12, 9, 16, 2, rows) if name == "sixteen.png" else PICTURES[name]
    path = place / "mask.png"
    path.write_bytes(data.draw(st.just(good) | damaged(good)))
    ids = {**dict.fromkeys(range(256), 0), 255: 255}
    for sixteen in (False, True):
        mask_HW = refused_or_fine("masks", lambda wide=sixteen: decode_mask(path, ids, sixteen_bit=wide))
        assert mask_HW is None or (mask_HW.ndim == 2 and mask_HW.dtype == np.uint8)
    pair = MaskedSet("m", place, ("mask.png",), ("mask.png",), ("a",), {0: 0})
    refused_or_fine("masks, size", lambda: mismatches(pair))


@fuzz
@given(content=st.text(max_size=40) | words)
def test_class_lists(place, content):
    (place / "classes.txt").write_bytes(content.encode("utf-8", errors="surrogatepass"))
    refused_or_fine("class lists", lambda: masked_folder(place))


# Records

RECORD = {
    "format": "csg-record/1",
    "kind": "accuracy",
    "run": {
        **dict.fromkeys(("recipe", "method", "backbone", "weights", "source", "source_identity"), "x"),
        **{"method_config": {}, "seed": 0, "step": 1, "checkpoint_sha256": "0" * 64, "versions": {"torch": "2"}},
    },
    "data": {"split": "target", "name": "d", "identity": "i", "count": 2, "size": 16, "fit": "crop"},
    "classes": ["a", "b"],
    "confusion": [[1, 0], [0, 1]],
    "flip": True,
    "per_class": [1.0, None],
    "mean_per_class": 1.0,
    "overall": 1.0,
    "interval": {"low": 0.0, "high": 1.0, "level": 0.95, "kind": "bootstrap"},
}


@fuzz
@given(
    content=st.one_of(
        altered(RECORD).map(lambda value: json.dumps(value).encode()),
        damaged(json.dumps(RECORD).encode()),
        st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000, b"\xff\xfe", b"", b"null"]),
    )
)
def test_records(place, content):
    path = place / "accuracy-target.json"
    path.write_bytes(content)
    refused_or_fine("records", lambda: read_record(path))


def test_the_good_ones_are_accepted(place, whole, tmp_path):
    """Else the tests above would pass by refusing everything."""
    (tmp_path / "accuracy-target.json").write_text(json.dumps(RECORD))
    assert read_record(tmp_path / "accuracy-target.json").classes == ["a", "b"]
    assert use(whole).step == 2
    assert load_recipe(str(place / "tiny.yaml")).name == "tiny"
    assert load_tensors(place / "tiny.pt").keys() == tiny.build().state_dict().keys()
    assert len(VISDA_CLASSES) == 12
