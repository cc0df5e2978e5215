"""Models from outside, through the real commands: pictures of a folder, no recipe, no labels, records with the hash.

The weights are those of the checkpoints' start, so what a checkpoint's own record says of them is known.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from csg_analysis.attention.gradcam import grad_cam
from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.features.files import open_features
from csg_train.data.readers.sets import unlabelled
from csg_train.data.views.transforms import evaluation_view
from csg_train.runs.records import read_record
from tests.analysis.conftest import analyze, refused


@pytest.fixture(scope="module")
def pictures(trees) -> Path:
    return trees / "target" / "bus"  # three


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    """A tiny ViT of timm's, random, in a safetensors file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit") / "mine.safetensors"
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def models(resnet_weights) -> tuple[str, ...]:
    """The same weights under the names of both libraries."""
    return "--model", f"resnet18:{resnet_weights}", "--model", f"timm/resnet18:{resnet_weights}"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(*arguments: object):
    result = analyze(*arguments)
    assert result.exit_code == 0, result.output
    return result


def maps_of(folder: Path) -> np.ndarray:
    with np.load(folder / "attention.npz") as arrays:
        return arrays["maps"]


def test_both_libraries_with_the_same_weights_give_the_same_features_energy_and_maps(
    models, pictures, resnet_weights, here
):
    result = ran("energy", *models, "--images", pictures, "--json")
    records = json.loads(result.stdout)
    digest = hashlib.sha256(resnet_weights.read_bytes()).hexdigest()
    for record, name in zip(records, ("resnet18", "timm/resnet18"), strict=True):
        assert (record["run"]["model"], record["run"]["sha256"]) == (name, digest)
        assert (record["data"]["split"], record["data"]["count"], record["data"]["size"]) == ("images", 3, 224)
        folder = here / "outside" / f"{name.replace('/', '-')}-resnet18"
        assert read_record(folder / "energy-images.json").model_dump(mode="json") == record
    assert records[1]["mhe"] == pytest.approx(records[0]["mhe"], rel=1e-6)
    ran("features", *models, "--images", pictures, "--layer", "layer3", "--layer", "layer4", "--out", "features")
    for layer in ("layer3", "layer4"):
        (ours, own), (theirs, _) = (
            open_features(here / "features" / f"{name}-resnet18-{layer}.npy") for name in ("resnet18", "timm-resnet18")
        )
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)
        assert own.run.sha256 == digest
    assert hyperspherical_energy(ours).mhe[0].value == pytest.approx(records[0]["mhe"]["0"], rel=1e-6)
    ran("gradcam", *models, "--images", pictures, "--out", "cams")
    one, other = (
        np.load(here / "outside" / f"{name}-resnet18" / "attention.npz")["maps"]
        for name in ("resnet18", "timm-resnet18")
    )
    assert one.max() > 0
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-3 * one.max())
    assert len(list((here / "cams").glob("*.png"))) == 3


def test_what_is_measured_is_the_plain_model_on_the_plain_pictures(models, pictures, resnet_weights, here):
    """Against torchvision's own network, normalised by hand."""
    import torchvision

    net = torchvision.models.resnet18().eval()
    net.load_state_dict(torch.load(resnet_weights, weights_only=True))
    images = unlabelled(pictures, ())
    views = torch.stack([evaluation_view(images.picture(index), size=224, fit="crop") for index in range(3)]) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    inputs = (views - mean) / std
    body = torch.nn.Sequential(*list(net.children())[:-1])
    with torch.no_grad():
        features, predicted = body(inputs).flatten(1), net(inputs).argmax(1)
    ran("features", *models[:2], "--images", pictures, "--out", "features")
    rows, _ = open_features(here / "features" / "resnet18-resnet18-layer4.npy")
    np.testing.assert_allclose(rows, features, rtol=1e-4, atol=1e-5)
    ran("gradcam", *models[:2], "--images", pictures)
    record = read_record(here / "outside" / "resnet18-resnet18" / "attention.json")
    assert [int(picture.predicted.split(" ")[0]) for picture in record.pictures] == predicted.tolist()
    maps = grad_cam(net, inputs, layer="layer4")
    own = maps_of(here / "outside" / "resnet18-resnet18")
    np.testing.assert_allclose(own, maps, rtol=1e-3, atol=1e-3 * float(maps.max()))


def test_a_file_without_a_classifier_has_the_same_features_and_no_gradcam(models, pictures, resnet_weights, here):
    state = torch.load(resnet_weights, weights_only=True)
    torch.save({f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")}, "trunk.pt")
    trunk = ("--model", "resnet18:trunk.pt", "--images", pictures)
    (whole,) = json.loads(ran("energy", *models[:2], "--images", pictures, "--json").stdout)
    (record,) = json.loads(ran("energy", *trunk, "--json").stdout)
    assert record["mhe"] == whole["mhe"]
    refused(analyze("gradcam", *trunk), "resnet18:trunk.pt", "no classifier")


def test_compare_and_sphere(models, pictures, here):
    result = ran("compare", *models, "--images", pictures)
    assert "alignment" in result.stdout
    record = read_record(here / "outside" / "timm-resnet18-resnet18" / "similarity-images.json")
    assert record.cka == pytest.approx(dict.fromkeys(["layer1", "layer2", "layer3", "layer4"], 1.0), abs=1e-6)
    assert record.measures == pytest.approx(record.start_measures, rel=1e-4)
    assert record.spread_by_class == {}
    assert "of --model the first one" in record.definitions["cka"]
    assert not (here / "outside" / "resnet18-resnet18").exists()
    ran("sphere", *models, "--images", pictures)
    one, other = (
        read_record(here / "outside" / f"{name}-resnet18" / "sphere-images.json")
        for name in ("resnet18", "timm-resnet18")
    )
    assert other.density == pytest.approx(one.density, abs=1e-3)


def test_a_transformer_from_a_safetensors_file(vit, pictures, here):
    model = ("--model", f"timm/test_vit:{vit}", "--images", pictures)
    (record,) = json.loads(ran("energy", *model, "--layer", "stage4", "--pool", "attention", "--json").stdout)
    assert (record["data"]["size"], record["dim"]) == (160, 64)
    assert record["stability"]["smallest"] > 0
    ran("gradcam", *model, "--layer", "stage3", "--records", "here")
    assert read_record(here / "here" / "timm-test_vit-mine" / "attention.json").layer == "stage3"
    refused(analyze("energy", *model, "--layer", "layer9"), "--layer", "layer9", "stage1, stage2, stage3, stage4")
    same = analyze("sphere", *model, "--model", f"resnet18:{vit}")
    refused(same, str(vit), "not weights of resnet18")


def test_a_name_of_torchvision_off_the_table(pictures, here):
    import torchvision

    net = torchvision.models.get_model("shufflenet_v2_x0_5", weights=None).eval()
    torch.save(net.state_dict(), "mine.pth")
    model = ("--model", "shufflenet_v2_x0_5:mine.pth", "--images", pictures)
    (record,) = json.loads(ran("energy", *model, "--json").stdout)
    assert (record["run"]["model"], record["data"]["size"], record["dim"]) == ("shufflenet_v2_x0_5", 224, 1024)
    ran("gradcam", *model, "--layer", "stage3")
    assert read_record(here / "outside" / "shufflenet_v2_x0_5-mine" / "attention.json").layer == "stage3"
    refused(analyze("energy", *model, "--layer", "conv5"), "--layer", "conv5", "stage1, stage2, stage3, stage4, layer1")
    refused(analyze("energy", "--model", "convnext_tny", "--images", pictures), "close to it: convnext_tiny")


def test_mistakes_are_one_line_and_leave_nothing(models, pictures, trained, vit, here):
    model = models[:2]
    for words, *parts in (
        (("energy", *model), "--model", "--images FOLDER"),
        (("energy", *model, trained[0], "--images", pictures), "not both"),
        (("energy", trained[0], "--images", pictures), "--images", "--model"),
        (("energy", *model, "--images", pictures, "--split", "target"), "--split"),
        (("sphere", *model, "--images", pictures, "--split", "target"), "--split"),
        (("energy", *model, "--images", pictures, "--set", "data.size=32"), "--set"),
        (("energy", *model, *model, "--images", pictures), "resnet18-resnet18", "one by one"),
        (("energy", *model, "--images", here / "none"), "none", "no such file or folder"),
        (("energy", "--model", "timm/resnet19", "--images", here / "none"), f"{here / 'none'}: no such"),
        (("energy", "--model", "resnet19", "--images", pictures), "resnet19"),
        (("energy", "--model", "timm/resnet19", "--images", pictures), "timm/resnet19", "close to it"),
        (("energy", "--model", "resnet18:none.pth", "--images", pictures), "none.pth", "no such"),
        (("energy", "--model", "resnet18:", "--images", pictures), "resnet18:", "no file after the colon"),
        (("energy", "--model", trained[0], "--images", pictures), str(trained[0]), "without --model"),
        (("energy", "--model", f"resnet18:{trained[0]}", "--images", pictures), "of csg-train", "without --model"),
        (("compare", *model, "--images", pictures), "two or more"),
        (("gradcam", *model, "--images", pictures, "--explain", "label"), "--explain label"),
        (("gradcam", *model, "--images", pictures, "--explain", "cat"), "--explain cat", "0 tench", "more"),
        (("energy", "--features", "x.npy", *model), "only one of the three"),
        (("energy", *model, "--images", pictures, "--records", trained[0]), f"--records {trained[0]}: a file"),
        (("energy", trained[0], "--records", "r"), "--records", "--model", "beside it"),
        (("sphere", *model, "--images", pictures, "--out", pictures / "s.png"), "s.png", str(pictures)),
        (
            ("features", *model, "--images", pictures, "--out", trained[0]),
            f"{trained[0]}: not an empty folder",
            "--out",
        ),
    ):
        refused(analyze(*words), *parts)
    assert list(here.iterdir()) == []


def test_the_report_refuses_records_of_models_that_are_no_runs(models, pictures, here):
    from click.testing import CliRunner

    from csg_analysis.report.cli import main

    ran("energy", *models, "--images", pictures)
    refused(CliRunner().invoke(main, ["build", "outside", "--out", "report"]), "resnet18", "a record of --model")
    assert not (here / "report").exists()
