"""``csg-train export``: run by the very lines of its model card, each format gives the checkpoint's logits."""

import importlib
import importlib.util
import json
import re
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file

from csg_train.commands.export import export
from csg_train.data.views.transforms import evaluation_view
from csg_train.demos.table import demo_domain
from csg_train.errors import UserError
from csg_train.evaluate.accuracy import accuracy_record
from csg_train.exports.card import _origin
from csg_train.exports.compare import compare
from csg_train.exports.export import export_checkpoint
from csg_train.exports.names import FORMATS
from csg_train.exports.subject import Subject
from csg_train.files import sha256_file
from csg_train.recipes.network import start_network
from csg_train.recipes.pictures import load_split
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint, load_checkpoint
from csg_train.runs.records import write_record
from tests.commands import assert_user_error, command
from tests.conftest import CLASSES
from tests.train.untrained import write_untrained

CPU = torch.device("cpu")
ORDER = ("truck", "bus", "car")
"""Not the order of the alphabet."""


def exported(checkpoint: Checkpoint, folder: Path, name: str, **options: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Export, and run the model card's own Python in the folder: the function that it calls ``logits``."""
    export_checkpoint(checkpoint, folder, name, recipe=checkpoint.resolved_recipe(), **options)
    return carded(folder)


def carded(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(code[1], names)  # noqa: S102 - the lines that are tested
    return names["logits"]


def assert_equal_logits(found: torch.Tensor, checkpoint: Checkpoint, images: torch.Tensor) -> None:
    """1e-5 of the largest logit, and the same classes."""
    with torch.no_grad():
        expected = checkpoint.build_network(CPU)(images).logits
    found = found.detach()
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))
    assert len(expected.argmax(dim=1).unique()) > 1


def pictures(side: int = 32, columns: int | None = None) -> torch.Tensor:
    images = torch.rand(6, 3, side, columns or side, generator=torch.Generator().manual_seed(0)) / 2
    for index in range(6):
        images[index, index % 3] += 0.4
    return images


@pytest.fixture
def resnet(recipe_dict, tmp_path) -> Checkpoint:
    """ResNet-18, which both libraries have under the same names."""
    recipe_dict["model"] = {"backbone": "resnet18", "weights": "none", "hidden": 8}
    return load_checkpoint(write_untrained(tmp_path / "run" / "ckpt.pt", recipe_dict, ORDER))


@pytest.fixture
def narrow(recipe_dict, tmp_path) -> Checkpoint:
    return load_checkpoint(write_untrained(tmp_path / "run" / "ckpt.pt", recipe_dict, ORDER))


@pytest.fixture
def masked(masked_recipe_dict, tmp_path) -> Checkpoint:
    return load_checkpoint(write_untrained(tmp_path / "run" / "ckpt.pt", masked_recipe_dict, ORDER))


def test_timm_loads_its_file_strictly_and_the_card_gives_the_logits(resnet, tmp_path):
    logits = exported(resnet, tmp_path / "out", "timm")
    with torch.no_grad():
        assert_equal_logits(logits(pictures()), resnet, pictures())
    own = timm.create_model("resnet18", num_classes=0)
    own.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["architecture"], config["num_classes"], config["num_features"]) == ("resnet18", 0, 512)
    assert config["label_names"] == list(ORDER)
    made = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    shown = timm.data.resolve_model_data_config(made)
    assert (list(shown["input_size"]), shown["crop_pct"], shown["crop_mode"]) == ([3, 32, 32], 1.0, "center")
    assert shown["mean"] == pytest.approx((0.485, 0.456, 0.406))
    assert shown["std"] == pytest.approx((0.229, 0.224, 0.225))


def test_torchvision_loads_its_file_strictly_and_the_card_gives_the_logits(resnet, tmp_path):
    result = command("csg-train", "export", resnet.path, "--to", "out", "--format", "torchvision", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"out/model\.safetensors: 46,\d{3},\d{3} bytes", result.stdout)
    assert re.search(
        r"compared .* on 9 pictures of target: logits differ by \d\.\de-?\d+ at most, .* 9 of 9", result.stdout
    )
    with torch.no_grad():
        assert_equal_logits(carded(tmp_path / "out")(pictures()), resnet, pictures())
    torchvision.models.resnet18().load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "it was left out there and is a file of its own, `head.safetensors`" in card
    assert "logits differ by" in card


@pytest.mark.parametrize(
    ("backbone", "format_name", "files"),
    [
        ("resnet18", "timm", 1),
        ("resnet18", "torchvision", 1),
        ("tf_efficientnet_lite0", "timm", 1),
        ("timm/test_resnet", "timm", 1),
        ("timm/test_convnext", "timm", 2),  # whose classifier comes behind a norm of the pooled map
    ],
)
def test_a_linear_head_is_the_librarys_own_classifier(backbone, format_name, files, recipe_dict, tmp_path):
    """The whole network is one file, which a constructor with the number of classes loads."""
    recipe_dict["model"] = {"backbone": backbone, "weights": "none", "hidden": 0}
    checkpoint = load_checkpoint(write_untrained(tmp_path / "run" / "ckpt.pt", recipe_dict, ORDER))
    out = tmp_path / "out"
    logits = exported(checkpoint, out, format_name)
    with torch.no_grad():
        expected = checkpoint.build_network(CPU)(pictures()).logits
        torch.testing.assert_close(logits(pictures()), expected, rtol=1e-4, atol=1e-4)
    assert len(list(out.glob("*.safetensors"))) == files
    card = (out / "README.md").read_text()
    assert ("is a file of its own" in card) == (files == 2)
    assert "one layer" in card
    if files == 2:
        return
    name = backbone.removeprefix("timm/")
    own = (
        timm.create_model(name, num_classes=3) if format_name == "timm" else torchvision.models.resnet18(num_classes=3)
    )
    own.load_state_dict(load_file(out / "model.safetensors"), strict=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    if backbone == "resnet18":
        with torch.no_grad():
            found = own.eval()((pictures() - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_names_in_the_card_are_text(recipe_dict, trees, tmp_path):
    names = ("<b>bus</b>", "a|b", "*c*")
    checkpoint = load_checkpoint(write_untrained(tmp_path / "run" / "ckpt.pt", recipe_dict, names))
    exported(checkpoint, tmp_path / "out", "safetensors", images=str(trees / "target" / "bus"))
    assert r", 3: &lt;b&gt;bus&lt;/b&gt;, a\|b, \*c\* |" in (tmp_path / "out" / "README.md").read_text()


def test_a_segmentation_is_torchvisions_deeplab(masked_recipe_dict, tmp_path):
    masked_recipe_dict["model"] = {"backbone": "resnet50", "weights": "none"}
    masked_recipe_dict["segmentation"] = {"head": "deeplab-v3", "output_stride": 8}
    path = write_untrained(tmp_path / "ckpt.pt", masked_recipe_dict, ORDER)
    checkpoint = load_checkpoint(path)
    logits = exported(checkpoint, tmp_path / "out", "torchvision")
    with torch.no_grad():
        found, expected = logits(pictures(33, 40)), checkpoint.build_network(CPU)(pictures(33, 40)).logits
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())  # 50 layers of random weights
    own = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=3)
    own.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=True)


def test_safetensors_are_a_checkpoint_again_without_what_only_training_needs(narrow, trees, tmp_path):
    logits = exported(narrow, tmp_path / "out", "safetensors")
    with torch.no_grad():
        assert_equal_logits(logits(pictures()), narrow, pictures())
    path = tmp_path / "out" / "model.safetensors"
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(narrow.model)
    again = load_checkpoint(path)
    assert (again.recipe, again.classes, again.step, again.data) == (
        narrow.recipe,
        list(ORDER),
        narrow.step,
        narrow.data,
    )
    assert (again.method, again.optimizer, again.rng) == ({}, {}, [])
    tables = []
    for checkpoint in (narrow.path, path):
        result = command("csg-train", "predict", checkpoint, trees / "target", "--out", "t.csv", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        tables.append((tmp_path / "t.csv").read_text())
    assert tables[0] == tables[1]


def test_a_checkpoint_and_its_safetensors_start_another_training(narrow, recipe_dict, tmp_path):
    """With its backbone, and a new head for other classes."""
    exported(narrow, tmp_path / "out", "safetensors")
    for path in (narrow.path, tmp_path / "out" / "model.safetensors"):
        recipe_dict["model"]["weights"] = str(path)
        recipe = Recipe.model_validate(recipe_dict)
        network, digest = start_network(recipe, recipe.build_method(), classes=5)
        assert digest == sha256_file(path)
        own = network.backbone.state_dict(prefix="backbone.")
        assert own.keys() == {name for name in narrow.model if name.startswith("backbone.")}
        assert all(torch.equal(value, narrow.model[name]) for name, value in own.items())
        assert network(pictures()).logits.shape == (6, 5)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (b'\\"step\\": 5', b'\\"step\\": -', "not a complete checkpoint"),
        (b'\\"step\\": 5', b'\\"stop\\": 5', "without step"),
        (b"csg-train/1", b"csg-train/9", "format 'csg-train/9'"),
        (b'"csg-train":', b'"csg-tram?":', "format None"),
    ],
)
def test_a_damaged_safetensors_checkpoint_is_refused(old, new, part, narrow, tmp_path):
    exported(narrow, tmp_path / "out", "safetensors")
    path = tmp_path / "out" / "model.safetensors"
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=re.escape(str(path))) as caught:
        load_checkpoint(path)
    assert part in caught.value.message


def test_torch_export_takes_any_number_of_pictures_and_names_the_classes(narrow, tmp_path):
    logits = exported(narrow, tmp_path / "out", "torch-export")
    for number in (1, 2, 6):
        with torch.no_grad():
            found = logits(pictures()[:number])
        if number == 6:
            assert_equal_logits(found, narrow, pictures())
    files = {"config.json": ""}
    torch.export.load(tmp_path / "out" / "model.pt2", extra_files=files)
    config = json.loads(files["config.json"])
    assert (config["label_names"], config["input_HW"]) == (list(ORDER), [32, 32])


@pytest.mark.demo_data
def test_onnx_gives_the_demo_networks_logits_on_the_demos_photos(recipe_dict, tmp_path):
    """The demo's backbone with its ImageNet weights: padding that rests on the size, and statistics that are not 0."""
    photos = demo_domain("renders-photos", "photos", None)
    domain = {"dataset": "renders-photos", "domains": ["photos"]}
    recipe_dict["data"] = {"source": domain, "target": dict(domain), "size": 96, "fit": "pad"}
    recipe_dict["model"] = {"backbone": "tf_efficientnet_lite0", "weights": "imagenet", "hidden": 8}
    checkpoint = load_checkpoint(write_untrained(tmp_path / "ckpt.pt", recipe_dict, photos.classes))
    run = exported(checkpoint, tmp_path / "out", "onnx")
    views = [evaluation_view(photos.picture(index), size=96, fit="pad") for index in range(0, len(photos), 12)]
    images = torch.stack(views).float() / 255
    assert_equal_logits(torch.from_numpy(run(images.numpy())), checkpoint, images)
    for number in (1, 2, 5):
        assert run(images[:number].numpy()).shape == (number, len(photos.classes))

    import onnx

    model = onnx.load(tmp_path / "out" / "model.onnx")
    sides = [side.dim_param or side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["batch", 3, 96, 96]
    assert json.loads({one.key: one.value for one in model.metadata_props}["names"]) == list(photos.classes)


@pytest.mark.skipif(torch.__version__ < "2.12", reason="torch before 2.12 traces a segmentation at one size alone")
def test_onnx_of_a_segmentation_takes_pictures_of_any_size(masked, tmp_path):
    logits = exported(masked, tmp_path / "out", "onnx")
    for images in (pictures(36, 40), pictures(65, 50)[:1].repeat(5, 1, 1, 1), pictures(48)):
        found = torch.from_numpy(logits(images.numpy()))
        with torch.no_grad():
            expected = masked.build_network(CPU)(images).logits
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["input_HW"] == [None, None]


def test_a_segmentation_whose_padding_rests_on_the_size_is_traced_at_the_pictures(masked_recipe_dict, tmp_path):
    masked_recipe_dict["model"] = {"backbone": "tf_efficientnet_lite0", "weights": "none"}
    checkpoint = load_checkpoint(write_untrained(tmp_path / "ckpt.pt", masked_recipe_dict, ORDER))
    shown = command("csg-train", "export", "ckpt.pt", "--to", "out", "--format", "torch-export", cwd=tmp_path)
    assert "out: accepts only pictures of 36 rows and 40 columns, the size that the network needs" in shown.stdout
    assert json.loads((tmp_path / "out" / "config.json").read_text())["input_HW"] == [36, 40]
    assert "; of 36 x 40 alone |" in (tmp_path / "out" / "README.md").read_text()
    with torch.no_grad():
        assert_equal_logits(carded(tmp_path / "out")(pictures(36, 40)), checkpoint, pictures(36, 40))


def test_an_empty_folder_is_filled_where_it_is(narrow, tmp_path):
    """The working directory, a link or a container's mount cannot take the place of another folder."""
    for name in ("here", "far"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("far")
    for place, words in {"here": ".", "link": tmp_path / "link"}.items():
        run = ("csg-train", "export", narrow.path, "--format", "safetensors", "--to", words)
        done = command(*run, cwd=tmp_path / place)
        assert done.returncode == 0, done.stderr
        kept = {path.name for path in (tmp_path / place).iterdir()}
        assert kept == {"README.md", "config.json", "model.safetensors"}
    assert (tmp_path / "link").is_symlink()
    load_checkpoint(tmp_path / "far" / "model.safetensors").build_network(CPU)


def test_an_export_that_gives_other_logits_is_not_kept(narrow, tmp_path, monkeypatch):
    wrong = importlib.import_module("csg_train.exports.to_safetensors")
    network = narrow.build_network(CPU)
    monkeypatch.setattr(wrong, "load", lambda *_: lambda images: network(images.flip(1)).logits)
    with pytest.raises(UserError, match=r"not the network of the checkpoint .* differ by"):
        exported(narrow, tmp_path / "out", "safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_what_was_written_and_does_not_run_is_one_line(narrow, tmp_path, monkeypatch):
    """A library may build another network from its own name than was trained: a MaxViT of another size."""
    wrong = importlib.import_module("csg_train.exports.to_safetensors")

    def load(*_):
        def run(images):
            raise AssertionError("height (64) must be divisible by window (7)")

        return run

    monkeypatch.setattr(wrong, "load", load)
    with pytest.raises(UserError, match=r"--format safetensors: what was written does not run \(height \(64\) must"):
        exported(narrow, tmp_path / "out", "safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_the_comparison_by_hand():
    """Logits of (0, 2) and (3, 1): a difference of 2e-4 is above 1e-4 of 3, one of 2e-4 at 4 is not.

    Four times what float32 itself is off by is allowed: a network may magnify roundings.
    """
    ours = torch.tensor([[0.0, 2.0], [4.0, 1.0]])
    theirs = ours + torch.tensor([[0.0, 0.0], [0.0, 2e-4]])
    images = [torch.tensor(index, dtype=torch.uint8).expand(3, 1, 1) for index in (0, 1)]

    def of(table: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda batch: table[(batch[:, 0, 0, 0] * 255).round().long()]

    named = {"source": "two", "what": "--format x"}
    found = compare(of(ours), of(theirs), of(ours.double()), images, **named)
    assert (found.pictures, found.same, found.predictions, found.logit) == (2, 2, 2, 4)
    assert found.largest == pytest.approx(2e-4, rel=1e-3)
    assert found.relative == pytest.approx(5e-5, rel=1e-3)
    with pytest.raises(UserError, match="--format x: not the network"):
        compare(of(ours), of(theirs + 1), of(ours.double()), images, **named)
    with pytest.raises(UserError, match="not finite"):
        compare(of(ours), of(theirs * float("nan")), of(ours.double()), images, **named)
    magnified = compare(of(ours), of(ours + 3e-3), of(ours.double() - 1e-3), images, **named)
    assert "float32 itself is off by 1.0e-03" in magnified.line()
    with pytest.raises(UserError, match="--format x: not the network"):
        compare(of(ours), of(ours + 5e-3), of(ours.double() - 1e-3), images, **named)


def test_the_card_has_the_numbers_of_this_checkpoint_alone(narrow, tmp_path):
    recipe = narrow.resolved_recipe()
    images = load_split(recipe.data, "target", ORDER)
    record = accuracy_record(narrow, narrow.build_network(CPU), images, split="target", recipe=recipe)
    write_record(narrow.path.parent / "accuracy-target.json", record)
    other = record.run.model_copy(update={"checkpoint_sha256": "0" * 64})
    write_record(narrow.path.parent / "accuracy-source.json", record.model_copy(update={"run": other}))
    exported(narrow, tmp_path / "out", "safetensors")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("- accuracy, unweighted mean") == 1
    assert (
        f"on target: target, 9 pictures, identity `{images.identity[:16]}`: {100 * record.mean_per_class:.1f} %" in card
    )
    mirrored = "sigmoids averaged over a picture and its mirror image, where `logits` sees one picture"
    assert card.count(mirrored) == 1
    write_record(narrow.path.parent / "accuracy-target.json", record.model_copy(update={"flip": False}))
    exported(narrow, tmp_path / "plain", "safetensors")
    plain = (tmp_path / "plain" / "README.md").read_text()
    assert "mirror" not in plain
    assert "; of the picture alone" in plain
    for part in (
        narrow.sha256,
        "a class for a picture, 3: truck, bus, car",
        "source, 12 pictures",
        "random",
        "the average of steps 1 to 4 (ema)",
    ):
        assert part in card


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--format", "torchvision"), ("--format torchvision", "no narrow", "safetensors")),
        (("--format", "timm"), ("--format timm", "no narrow", "onnx")),
        (("--format", "safetensors", "--set", "data.target.root=gone"), ("gone", "--images FOLDER")),
        (("--format", "safetensors", "--images", "gone"), ("gone: no such file or folder",)),
        (("--format", "safetensors", "--to", "run"), ("run: not an empty folder", "--to")),
        (("--format", "safetensors", "--set", "data.size=64"), ("--set data.size", "predict --set data.size=64")),
    ],
)
def test_mistakes(words, parts, narrow, tmp_path):
    result = command("csg-train", "export", narrow.path, "--to", "out", *words, cwd=tmp_path)
    assert_user_error(result, *parts)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_what_a_library_has_not_is_said(masked, tmp_path):
    for name, part in (("timm", "no segmentations"), ("torchvision", "no deeplabv3_narrow")):
        with pytest.raises(UserError, match=f"--format {name}: it has {part}"):
            exported(masked, tmp_path / "out", name)


def test_other_networks_of_torchvision(recipe_dict, tmp_path):
    """Those that pool into a classifier named fc take the head in its place, the others say that they cannot."""
    checkpoints = {}
    for name in ("regnet_y_400mf", "squeezenet1_1", "mobilenet_v3_small"):
        recipe = recipe_dict | {"model": {"backbone": name, "weights": "none", "hidden": 8}}
        checkpoints[name] = load_checkpoint(write_untrained(tmp_path / f"{name}.pt", recipe, ORDER))
    fits = checkpoints.pop("regnet_y_400mf")
    logits = exported(fits, tmp_path / "fits", "torchvision")
    with torch.no_grad():
        torch.testing.assert_close(logits(pictures()), fits.build_network(CPU)(pictures()).logits, rtol=1e-4, atol=1e-3)
    for name, checkpoint in checkpoints.items():
        with pytest.raises(UserError, match=f"--format torchvision: its {name} has no classifier fc"):
            exported(checkpoint, tmp_path / "out", "torchvision")
    assert not (tmp_path / "out").exists()


def timm_checkpoint(name: str, size: int, recipe_dict: dict, folder: Path) -> Checkpoint:
    recipe = recipe_dict | {"model": {"backbone": f"timm/{name}", "weights": "none", "hidden": 8}}
    recipe["data"] = recipe_dict["data"] | {"size": size}
    return load_checkpoint(write_untrained(folder / f"{name}.pt", recipe, ORDER))


def test_a_network_of_tokens_takes_any_number_of_pictures(recipe_dict, tmp_path):
    checkpoint = timm_checkpoint("test_vit", 96, recipe_dict, tmp_path)
    logits = exported(checkpoint, tmp_path / "out", "torch-export")
    assert_equal_logits(logits(pictures(96)), checkpoint, pictures(96))


def test_timm_networks_of_other_maps_than_the_head_takes_are_refused(recipe_dict, tmp_path):
    """A residual network's last stage is what its ``forward_features`` gives; the two others go on from it."""
    fits = timm_checkpoint("test_resnet", 64, recipe_dict, tmp_path)
    assert_equal_logits(exported(fits, tmp_path / "fits", "timm")(pictures(64)), fits, pictures(64))
    for name, size in (("test_efficientnet", 64), ("test_vit", 96)):
        checkpoint = timm_checkpoint(name, size, recipe_dict, tmp_path)
        with pytest.raises(UserError, match=f"timm: the head takes a map .*{name}'s forward_features gives .*use safe"):
            exported(checkpoint, tmp_path / "out", "timm")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", "torchvision's IMAGENET1K_V1 of resnet18; torchvision is BSD-3-Clause"),
        ("vit_h_14", r"torchvision's IMAGENET1K_SWAG_E2E_V1 of vit_h_14; under https://.*SWAG.*LICENSE"),
        ("timm/test_resnet@224", r"timm/test_resnet@224's published ones, which timm says are under \S+; SHA-256 `ab`"),
        ("timm/test_resnet.r160_in1k@224", r"timm/test_resnet\.r160_in1k@224's published ones, which timm says are"),
    ],
)
def test_the_card_names_published_weights_and_their_terms(name, words):
    model = types.SimpleNamespace(backbone=name)
    checkpoint = types.SimpleNamespace(recipe={"model": {"weights": "imagenet"}}, weights="ab", versions={})
    subject = Subject(checkpoint, types.SimpleNamespace(model=model), torch.nn.Identity())
    assert re.match(words, _origin(subject))


def test_a_network_that_a_method_rewrote_is_no_librarys(recipe_dict, tmp_path):
    recipe_dict |= {"model": {"backbone": "resnet18", "weights": "none", "hidden": 8}, "method": {"name": "ibn-net"}}
    checkpoint = load_checkpoint(write_untrained(tmp_path / "ckpt.pt", recipe_dict, ORDER))
    for name in ("timm", "torchvision"):
        with pytest.raises(UserError, match=r"the network is not its resnet18 .*rewritten"):
            exported(checkpoint, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it(narrow, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if "onnx" in name else find(name, *more))
    with pytest.raises(UserError, match=r"onnx, onnxruntime, onnxscript not installed; run: pip install .*\[export\]"):
        exported(narrow, tmp_path / "out", "onnx")


def test_every_format_is_a_module_and_a_choice():
    choices = next(option for option in export.params if option.name == "format_name").type.choices
    assert tuple(choices) == FORMATS
    for name in FORMATS:
        module = importlib.import_module(f"csg_train.exports.to_{name.replace('-', '_')}")
        assert set(module.__all__) >= {"load", "usage", "write"}
    assert sorted(ORDER) == list(CLASSES) != list(ORDER)
