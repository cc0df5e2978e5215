"""Import: files in the exact official layouts, written from networks of ours, and each way in which a file differs."""

import hashlib
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from csg_train.commands.importing import import_command
from csg_train.data.readers.lists import VISDA_CLASSES
from csg_train.engine.loop import train
from csg_train.errors import UserError
from csg_train.models.backbones import BACKBONES, Backbone, backbone_spec
from csg_train.models.deeplab import SegmentationNetwork
from csg_train.models.network import Network
from csg_train.models.weights import build_backbone, load_weights
from csg_train.recipes.reading import load_recipe
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.importing import _check_recipe, import_file, map_state
from csg_train.runs.layouts import LAYOUTS
from tests.commands import command

RESNET18 = ("model.backbone=resnet18", "model.hidden=8")
QUEUE = 6


def network(seed: int = 3) -> Network:
    """Random weights, random BatchNorm statistics, counters that are not zero."""
    made = Network("resnet18", classes=12, hidden=8, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, value in made.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
        elif name.endswith("running_mean"):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return made.eval()


def official_csg(made: Network) -> dict:
    """Names of the released code: student and teacher of the same architecture, their heads, two queues."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for side in ("encoder_q", "encoder_k"):
        own = made if side == "encoder_q" else network(seed=4)
        state |= {f"{side}.{name}": value for name, value in own.backbone.net.state_dict().items()}
        state[f"{side}.fc.weight"] = torch.randn(128, 512, generator=generator)
        state[f"{side}.fc.bias"] = torch.randn(128, generator=generator)
        for stage, width in ((3, 256), (4, 512)):
            for layer, rows in ((0, width), (2, 128)):
                state[f"{side}.fc_csg.stage{stage}.{layer}.weight"] = torch.randn(rows, width, generator=generator)
                state[f"{side}.fc_csg.stage{stage}.{layer}.bias"] = torch.randn(rows, generator=generator)
    state |= {f"encoder_q.fc_new.{name}": value for name, value in made.head.state_dict().items()}
    for stage in (3, 4):
        state[f"queue{stage}"] = torch.randn(128, QUEUE, generator=generator)
        state[f"queue_ptr{stage}"] = torch.zeros(1, dtype=torch.int64)
    return {"epoch": 11, "state_dict": state, "best_prec1": torch.tensor(64.05)}


def official_asg(made: Network) -> dict:
    state = dict(made.backbone.net.state_dict())
    state |= {f"fc_new.{name}": value for name, value in made.head.state_dict().items()}
    return {"epoch": 2, "state_dict": state, "best_prec1": 61.5}


OFFICIAL = {"csg": official_csg, "asg": official_asg}


def imported(content: object, kind: str, folder: Path, *, legacy: bool = False) -> tuple[Path, list[str]]:
    """Write the file as the official code does (``legacy``: as torch 1.2 did) and import it."""
    file, out = folder / "official.pth", folder / "made" / "ckpt.pt"
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    recipe = load_recipe(LAYOUTS[kind].recipe, RESNET18)
    return out, import_file(file, kind, recipe, out)


def refuses(content: object, kind: str, folder: Path) -> str:
    """The message; nothing is written."""
    with pytest.raises(UserError) as caught:
        imported(content, kind, folder)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["official.pth"]
    return caught.value.format_message()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", ["csg", "asg"])
def test_logits_and_stages_are_bit_equal_to_the_source_networks(kind, prefix, legacy, tmp_path, images):
    made = network()
    content = OFFICIAL[kind](made)
    content["state_dict"] = {prefix + name: value for name, value in content["state_dict"].items()}
    out, _ = imported(content, kind, tmp_path, legacy=legacy)
    ours = load_checkpoint(out).build_network(torch.device("cpu"))
    made = made.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected, found = made(images), ours(images)
    assert expected.logits.std(dim=0).min() > 0, "logits that depend on the picture"
    assert torch.equal(found.logits, expected.logits)
    assert all(torch.equal(found.stages[name], value) for name, value in expected.stages.items())
    assert torch.equal(found.imagenet_logits, expected.imagenet_logits) == (kind == "asg")


def test_what_a_csg_checkpoint_says_of_itself(tmp_path):
    """Counts by hand: ResNet-18 has 20 convolutions and 20 BatchNorms of 5 tensors."""
    out, lines = imported(official_csg(network()), "csg", tmp_path)
    digest = hashlib.sha256((tmp_path / "official.pth").read_bytes()).hexdigest()
    assert lines == [
        f"{tmp_path / 'official.pth'}: SHA-256 {digest}",
        "backbone: 120 tensors from encoder_q.*",
        "task head: 4 tensors from encoder_q.fc_new.*",
        "left out: encoder_q.fc.* (2 tensors: random layer in the ImageNet classifier's place, never used)",
        "left out: encoder_q.fc_csg.* (8 tensors: projection heads, for training only)",
        "left out: encoder_k.* (122 tensors: frozen ImageNet teacher, for training only)",
        "left out: encoder_k.fc_csg.* (8 tensors: moving average of the projection heads, for training only)",
        "left out: queue* (2 tensors: queues of negatives, for training only)",
        "left out: queue_ptr* (2 tensors: position in the queues, for training only)",
        "zeros: backbone.net.fc.weight, backbone.net.fc.bias, which the file does not have",
        "best_prec1: 64.05 (stored in the file, not measured here)",
        f"{out}: checkpoint of epoch 11, step 52382; the epoch was chosen on the target",
    ]
    checkpoint = load_checkpoint(out)
    assert (checkpoint.step, checkpoint.weights, checkpoint.classes) == (11 * 4762, digest, list(VISDA_CLASSES))
    assert checkpoint.recipe["method"]["name"] == "csg"
    assert checkpoint.versions["imported from"] == f"official csg checkpoint, SHA-256 {digest}"
    assert (checkpoint.method, checkpoint.optimizer, checkpoint.selection) == ({}, {}, "oracle")
    assert not checkpoint.model["backbone.net.fc.weight"].any()


def official_segmentation(made: SegmentationNetwork) -> dict:
    """Names of the released DeepLab code: the head in a list of one; the teacher has a head too."""
    state = {}
    for side in ("encoder_q", "encoder_k"):
        state |= {f"{side}.{name}": value for name, value in made.backbone.net.state_dict().items()}
        state |= {f"{side}.fc_new.conv2d_list.0.{name}": value for name, value in made.head.state_dict().items()}
        state |= {f"{side}.fc.weight": torch.zeros(128, 512), f"{side}.fc.bias": torch.zeros(128)}
        state |= {f"{side}.fc_csg.stage4.{layer}.bias": torch.zeros(4) for layer in (0, 2)}
    state |= {"queue4": torch.zeros(128, QUEUE), "queue_ptr4": torch.zeros(1, dtype=torch.int64)}
    return {"epoch": 3, "state_dict": state, "best_mIoU": 35.27}


def test_an_official_segmentation_becomes_a_checkpoint_of_the_same_logits(tmp_path, images):
    made = SegmentationNetwork("resnet18", classes=19, head="deeplab-v3", seed=3).eval()
    file, out = tmp_path / "official.pth", tmp_path / "ckpt.pt"
    torch.save(official_segmentation(made), file)
    lines = import_file(file, "csg", load_recipe("gta5-resnet50-csg", RESNET18[:1]), out)
    assert "task head: 44 tensors from encoder_q.fc_new.conv2d_list.0.*" in lines
    assert "best_mIoU: 35.27 (stored in the file, not measured here)" in lines
    checkpoint = load_checkpoint(out)
    assert (checkpoint.step, checkpoint.data["name"], checkpoint.data["count"]) == (3 * 2000, "gta5:train", 12403)
    assert (checkpoint.classes[0], checkpoint.classes[-1], checkpoint.selection) == ("road", "bicycle", "oracle")
    ours = checkpoint.build_network(torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(ours(images).logits, made.to(memory_format=torch.channels_last)(images).logits)


@pytest.mark.parametrize(
    ("content", "kind", "recipe", "part"),
    [
        ("masks", "csg", "visda17-resnet101-csg", "a segmentation file, .*; use --recipe gta5-resnet50-csg"),
        ("deep masks", "csg", "gta5-resnet50-baseline", "its method is baseline, not csg"),
        ("deep masks", "csg", "visda17-resnet101-csg", "use --recipe gta5-resnet101-csg"),
        ("pictures", "csg", "gta5-resnet50-csg", "a classification file, .*; use --recipe visda17-resnet101-csg"),
        ("pictures", "asg", "gta5-resnet50-asg", "VGG-16"),
    ],
)
def test_a_file_of_the_other_task_names_its_recipe(content, kind, recipe, part, tmp_path):
    names = {"masks": ["fc_new.conv2d_list.0.4.bias"], "pictures": ["fc_new.2.bias"]}[content.rpartition(" ")[2]]
    names += ["layer3.22.bn1.bias"] if "deep" in content else []
    torch.save({"epoch": 1, "state_dict": {f"encoder_q.{name}": torch.zeros(1) for name in names}}, tmp_path / "o.pth")
    with pytest.raises(UserError, match=part):
        import_file(tmp_path / "o.pth", kind, load_recipe(recipe), tmp_path / "ckpt.pt")
    assert not (tmp_path / "ckpt.pt").exists()


def test_heads_and_queues_may_be_absent_and_other_fields_are_named(tmp_path):
    content = official_csg(network())
    content["state_dict"] = {
        name: value
        for name, value in content["state_dict"].items()
        if name.startswith("encoder_q.") and "fc_csg" not in name and ".fc." not in name
    }
    del content["best_prec1"]
    _, lines = imported(content | {"arch": "resnet18"}, "csg", tmp_path)
    assert lines[1:-1] == [
        "backbone: 120 tensors from encoder_q.*",
        "task head: 4 tensors from encoder_q.fc_new.*",
        "zeros: backbone.net.fc.weight, backbone.net.fc.bias, which the file does not have",
        "left out: arch (fields beside the state dict)",
    ]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"encoder_q.conv1.weight": None}, "missing encoder_q.conv1.weight"),
        ({"encoder_q.fc_new.2.bias": None}, "missing encoder_q.fc_new.2.bias"),
        ({"encoder_q.bn1.bias": None, "encoder_q.bn1.b": 64}, "missing encoder_q.bn1.bias; unexpected encoder_q.bn1.b"),
        ({"decoder.weight": 5}, "unexpected decoder.weight"),
        ({"encoder_q.fc_new.2.bias": 13}, "encoder_q.fc_new.2.bias is (13,), not (12,)"),
        ({"encoder_q.bn1.bias": [0.0] * 64}, "encoder_q.bn1.bias is a list, not a tensor"),
        ({"encoder_q.bn1.bias": torch.zeros(64, dtype=torch.int8)}, "int8"),
        ({"module.encoder_q.bn1.bias": 64}, "unexpected module.encoder_q.bn1.bias"),
    ],
)
def test_each_difference_is_named(change, part, tmp_path):
    content = official_csg(network())
    state = content["state_dict"]
    for name, value in change.items():
        state.pop(name, None)
        if value is not None:
            state[name] = torch.zeros(value) if isinstance(value, int) else value
    message = refuses(content, "csg", tmp_path)
    assert str(tmp_path / "official.pth") in message
    assert part in message
    assert "--kind" in message


def test_ten_differences_are_named_and_the_others_counted(tmp_path):
    content = official_csg(network())
    message = refuses(content, "asg", tmp_path)
    differences = 100 + 2 + 4 + len(content["state_dict"])  # the 20 batch counters may lack
    assert message.count("missing ") == 10
    assert f"; and {differences - 10} more; " in message


@pytest.mark.parametrize("epoch", [None, -1, 1.5, True, "last"])
def test_epoch_must_be_a_count(epoch, tmp_path):
    content = official_asg(network()) | {"epoch": epoch}
    assert f"epoch is {epoch!r}" in refuses(content, "asg", tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 3, 4: 5}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(content, tmp_path):
    assert "not a state dict" in refuses(content, "timm", tmp_path)


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


def test_code_in_a_file_is_refused_and_never_run(tmp_path):
    content = official_asg(network()) | {"best_prec1": Payload(tmp_path / "ran")}
    message = refuses(content, "asg", tmp_path)
    assert "refused" in message
    assert "system" in message
    assert "weights_only" not in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_cut_file_is_refused(kept, tmp_path):
    file = tmp_path / "official.pth"
    torch.save(official_asg(network()), file)
    whole = file.read_bytes()
    file.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(UserError, match=r"official\.pth: (not a complete torch file|empty, 0 bytes)"):
        import_file(file, "asg", load_recipe("visda17-resnet101-asg", RESNET18), tmp_path / "ckpt.pt")
    assert not (tmp_path / "ckpt.pt").exists()


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_imagenet_weights_become_a_plain_file_that_training_takes(kind, wrapped, tmp_path):
    net = network().backbone.net
    whole = torch.zeros(4, *net.conv1.weight.shape, dtype=torch.float64)
    whole[2] = net.conv1.weight.detach()
    state = {f"module.{name}": value for name, value in net.state_dict().items() if "num_batches" not in name}
    state["module.conv1.weight"] = whole[2]  # a view, of another type
    state["module.fc.weight"] = net.fc.weight.detach().T.contiguous().T
    state["module.fc.bias"] = torch.nn.Parameter(net.fc.bias)
    out, lines = imported({"state_dict": state} if wrapped else state, kind, tmp_path)
    assert "backbone: 102 tensors from *" in lines
    assert "converted: 1 tensors to the network's number type" in lines
    assert any(line.startswith("zeros: 20 num_batches_tracked") for line in lines)
    made = torch.load(out, weights_only=True)
    for name, value in net.state_dict().items():
        assert torch.equal(made[name], torch.zeros_like(value) if "num_batches" in name else value)
        assert made[name].dtype == value.dtype
        assert made[name].is_contiguous()
        assert not made[name].requires_grad
    assert out.stat().st_size < 1.01 * sum(value.nbytes for value in made.values()) + 100_000
    backbone = Backbone(BACKBONES["resnet18"])
    assert load_weights(backbone, "resnet18", out) == hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "name"), [("torchvision", "resnet18"), ("timm", "timm/test_resnet"), ("timm", "timm/test_efficientnet")]
)
@pytest.mark.parametrize("own", ["three classes", "none", "a projection"])
def test_a_file_without_the_thousand_classes_becomes_one_that_training_takes(kind, name, own, tmp_path):
    """Fine-tuned, or self-supervised, its average beside it: what --weights says of such a file is to import it."""
    net = Backbone(backbone_spec(name)).net
    (place,) = backbone_spec(name).classifiers
    rest = {key: value for key, value in net.state_dict().items() if not key.startswith(f"{place}.")}
    head = {
        "three classes": {f"{place}.weight": torch.ones(3, net.get_submodule(place).in_features)},
        "none": {},
        "a projection": {f"{place}.0.weight": torch.ones(128, 7), f"{place}.2.weight": torch.ones(128, 128)},
    }[own]
    if own == "three classes":
        head[f"{place}.bias"] = torch.tensor([1.0, 2.0, 3.0])
    named = {f"student.{key}": value for key, value in (rest | head).items()}
    file, out = tmp_path / "tuned.pth", tmp_path / "out.pt"
    torch.save({"model": named, "model_ema": named}, file)
    recipe = load_recipe("emoji-photos", [f"model.backbone={name}"])
    lines = import_file(file, kind, recipe, out, field="model_ema")
    made = torch.load(out, weights_only=True)
    assert all(torch.equal(made[key], value) for key, value in rest.items())
    backbone, _ = build_backbone(name, out)
    if own == "three classes":
        assert backbone.classes == 3
        assert torch.equal(made[f"{place}.bias"], head[f"{place}.bias"])
    else:
        assert backbone.classes == 0
        assert f"zeros: {place}.weight, {place}.bias, which the file does not have" in lines
        left_out = f"left out: {place}.* (2 tensors: no classifier of this network)"
        assert (left_out in lines) == (own == "a projection")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("conv1.weight", math.nan, "holds values that are not finite"),
        ("layer1.0.bn1.running_var", -1.0, "a variance, holds negative values"),
        ("conv1.weight", 1e300, "holds values that are not finite"),  # in float32
    ],
)
def test_weights_that_nobody_could_use_are_not_written(name, value, words, tmp_path):
    state = {key: tensor.double() for key, tensor in network().backbone.net.state_dict().items()}
    state[name][0] = value
    with pytest.raises(UserError, match=words):
        imported(state, "torchvision", tmp_path)
    assert not (tmp_path / "out.pt").exists()


def test_old_names_of_torchvision_are_taken(tmp_path):
    """DenseNets were saved with dots that today's modules have not."""
    net = Backbone(backbone_spec("densenet121")).net
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in net.state_dict().items()
    }
    assert set(old) != set(net.state_dict())
    torch.save(old, tmp_path / "old.pth")
    recipe = load_recipe("emoji-photos", ["model.backbone=densenet121"])
    import_file(tmp_path / "old.pth", "torchvision", recipe, tmp_path / "out.pt")
    made = torch.load(tmp_path / "out.pt", weights_only=True)
    assert all(torch.equal(made[key], value) for key, value in net.state_dict().items())


def test_lite0_is_timms_alone(tmp_path):
    net = BACKBONES["tf_efficientnet_lite0"].build()
    file = tmp_path / "weights.pth"
    torch.save(net.state_dict(), file)
    recipe = load_recipe("emoji-photos")
    import_file(file, "timm", recipe, tmp_path / "out.pt")
    made = torch.load(tmp_path / "out.pt", weights_only=True)
    assert list(made) == list(net.state_dict())
    assert all(torch.equal(made[name], value) for name, value in net.state_dict().items())
    for name in ("timm/test_resnet.r160_in1k", "timm/test_vit.r160_in1k@224"):
        _check_recipe("timm", load_recipe("emoji-photos", [f"model.backbone={name}"]))
    with pytest.raises(UserError, match="--kind torchvision: has no tf_efficientnet_lite0"):
        import_file(file, "torchvision", recipe, tmp_path / "other.pt")


def test_the_official_names_of_resnet101_fit_the_default_recipe():
    """On the meta device: names and shapes of the paper's network, without its weights."""
    with torch.device("meta"):
        own = Network("resnet101", classes=12, hidden=512, seed=0).state_dict()
        theirs = dict(BACKBONES["resnet101"].build().state_dict())
        theirs |= {"fc_new.0.weight": torch.empty(512, 2048), "fc_new.0.bias": torch.empty(512)}
        theirs |= {"fc_new.2.weight": torch.empty(12, 512), "fc_new.2.bias": torch.empty(12)}
    mapped = map_state(theirs, own, LAYOUTS["asg"], origin="meta")
    assert mapped.lines == ("backbone: 626 tensors from *", "task head: 4 tensors from fc_new.*")
    assert load_recipe(LAYOUTS["asg"].recipe).model.hidden == 512


def test_an_existing_file_and_another_methods_recipe_are_refused(tmp_path):
    out, _ = imported(official_asg(network()), "asg", tmp_path)
    before = out.read_bytes()
    file = tmp_path / "official.pth"
    with pytest.raises(UserError, match="exists; remove it"):
        import_file(file, "asg", load_recipe("visda17-resnet101-asg", RESNET18), out)
    assert out.read_bytes() == before
    with pytest.raises(UserError, match=r"x\.safetensors: a file of torch is written; give a name that ends in \.pt"):
        import_file(file, "asg", load_recipe("visda17-resnet101-asg", RESNET18), tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="its method is asg, not csg; use visda17-resnet101-csg"):
        import_file(file, "csg", load_recipe("visda17-resnet101-asg", RESNET18), tmp_path / "new.pt")


@pytest.fixture
def visda(tmp_path: Path) -> Path:
    """A picture a class in ``train`` and ``validation``."""
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        folder = tmp_path / "visda17" / split
        folder.mkdir(parents=True)
        for label in range(12):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{label}.png")
        (folder / "image_list.txt").write_text("".join(f"{label}.png {label}\n" for label in range(12)))
    return tmp_path / "visda17"


def test_an_imported_checkpoint_is_measured(visda, tmp_path):
    out, _ = imported(official_csg(network()), "csg", tmp_path)
    sets = ("--set", f"data.target.root={visda}", "--set", "data.size=32", "--split", "target")
    for name in ("energy", "accuracy"):
        result = command("csg-analyze", name, out, *sets, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert (out.parent / f"{name}-target.json").is_file()
    result = command("csg-analyze", "gradcam", out, *sets[:4], "--per-class", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (out.parent / "attention.json").is_file()


def test_training_does_not_continue_from_an_import(visda, tmp_path):
    """With the very recipe of the import, and starting weights of its own."""
    weights, out = tmp_path / "imagenet.pt", tmp_path / "run" / "ckpt.pt"
    torch.save(network().backbone.net.state_dict(), weights)
    torch.save(official_asg(network()), tmp_path / "official.pth")
    roots = (f"data.source.root={visda}", f"data.target.root={visda}", f"model.weights={weights}")
    recipe = load_recipe("visda17-resnet101-asg", (*RESNET18, *roots))
    import_file(tmp_path / "official.pth", "asg", recipe, out)
    before = out.read_bytes()
    with pytest.raises(UserError, match=r"ckpt\.pt: "):
        train(recipe, out.parent, device=torch.device("cpu"), resume=True, overwrite=False, report=print)
    assert out.read_bytes() == before
    assert not (out.parent / "log.jsonl").exists()


def test_the_command_prints_the_lines_and_fails_with_one(tmp_path):
    file, out = tmp_path / "official.pth", tmp_path / "ckpt.pt"
    torch.save(official_asg(network()), file)
    sets = [part for value in RESNET18 for part in ("--set", value)]
    arguments = [str(file), "--kind", "asg", *sets, "--out", str(out)]
    result = CliRunner().invoke(import_command, arguments)
    assert result.exit_code == 0, result.output
    assert "best_prec1: 61.50 (stored in the file, not measured here)" in result.output
    assert load_checkpoint(out).step == 2 * 4762
    result = CliRunner().invoke(import_command, [str(tmp_path / "none"), *arguments[1:-1], str(tmp_path / "new.pt")])
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "no such file" in result.stderr
