"""Every measure of checkpoints of other families; and timm's ResNet-18 measured as torchvision's with its weights."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from csg_analysis.attention.gradcam import grad_cam
from csg_train.engine.loop import train
from csg_train.methods.contrastive import attention_stability
from csg_train.models.weights import build_backbone
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.analysis.conftest import analyze, refused
from tests.tiny_models import FAMILIES

MEASURES = {
    "energy": ["energy", "--split", "target", "--json"],
    "energy of stage1": ["energy", "--split", "target", "--layer", "stage1", "--pool", "attention", "--json"],
    "compare": ["compare", "--split", "target", "--json"],
    "attention": ["attention", "--split", "target", "--explain", "car", "--layer", "layer3", "--curves", "2", "--json"],
    "accuracy": ["accuracy", "--split", "target", "--json"],
}


def numbers(value: object) -> list[float]:
    """Every number of a record but of its provenance, in order."""
    if isinstance(value, dict):
        return [number for key, part in value.items() if key not in ("run", "data") for number in numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [value] if isinstance(value, float | int) else []


def measured(path: Path, name: str) -> dict:
    result = analyze(*MEASURES[name][:1], path, *MEASURES[name][1:])
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)
    return record


def gradcam_maps(path: Path, layer: str, out: Path) -> np.ndarray:
    result = analyze("gradcam", path, "--layer", layer, "--explain", "car", "--out", out)
    assert result.exit_code == 0, result.output
    record = json.loads((path.parent / "attention.json").read_text())
    return np.load(path.parent / record["arrays"])["maps"]


def test_timms_resnet18_is_measured_as_torchvisions(trained, tmp_path):
    """The same tensors under both names: the same features, energy and maps, by the commands and underneath."""
    saved = load_checkpoint(trained[0])
    recipe = saved.recipe | {"model": saved.recipe["model"] | {"backbone": "timm/resnet18"}}
    ours, theirs = tmp_path / "torchvision" / "ckpt.pt", tmp_path / "timm" / "ckpt.pt"
    ours.parent.mkdir()
    shutil.copy(trained[0], ours)
    save_checkpoint(theirs, dataclasses.replace(saved, recipe=recipe))
    energies = [numbers(measured(path, "energy")) for path in (ours, theirs)]
    assert len(energies[0]) > 10
    np.testing.assert_allclose(energies[1], energies[0], rtol=1e-5, atol=1e-7)
    maps = [gradcam_maps(path, "layer4", tmp_path / "maps") for path in (ours, theirs)]
    assert maps[0].any()
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-4, atol=1e-7)

    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    networks = [load_checkpoint(path).build_network(torch.device("cpu")) for path in (ours, theirs)]
    with torch.no_grad():
        outputs = [network(pictures) for network in networks]
    torch.testing.assert_close(outputs[1].logits, outputs[0].logits)
    torch.testing.assert_close(outputs[1].imagenet_logits, outputs[0].imagenet_logits)
    for number in (1, 2, 3, 4):
        expected = outputs[0].stages[f"layer{number}"]
        torch.testing.assert_close(outputs[1].stages[f"layer{number}"], expected)
        torch.testing.assert_close(outputs[1].stages[f"stage{number}"], expected)
    finer = [grad_cam(network, pictures, [0, 2], layer="layer3") for network in networks]
    torch.testing.assert_close(finer[1], finer[0])


@pytest.mark.parametrize("family", ["efficientnet", "swin", "dinov2"])  # channels first, last, and tokens
def test_every_measure_of_a_checkpoint(family, recipe_dict, tmp_path):
    weights = tmp_path / "weights.pt"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.save(build_backbone(FAMILIES[family])[0].net.state_dict(), weights)
    model = {"backbone": FAMILIES[family], "weights": str(weights), "hidden": 8}
    recipe = Recipe.model_validate(
        recipe_dict
        | {"model": model, "train": recipe_dict["train"] | {"steps": 1}, "data": recipe_dict["data"] | {"size": 64}}
    )
    options = {"device": torch.device("cpu"), "resume": False, "overwrite": False}
    path = train(recipe, tmp_path / "run", report=lambda _step, _values: None, **options)

    for name in MEASURES:
        record = measured(path, name)
        assert np.isfinite(numbers(record)).all()
        if name == "compare":
            assert list(record["cka"]) == ["stage1", "stage2", "stage3", "stage4"]
            assert record["layer"] == "layer4"
        elif name == "energy of stage1":
            stability = record["stability"]
            assert 0 < stability["smallest"] <= stability["mean"] <= 1
            assert stability["below"] == 0
        elif name == "energy":
            assert record["stability"] is None
    assert gradcam_maps(path, "stage3", tmp_path / "maps").shape == (6, 64, 64)
    for arguments in (["sphere", path, "--out", tmp_path / "s.png"], ["features", path, "--out", tmp_path / "rows"]):
        result = analyze(*arguments)
        assert result.exit_code == 0, result.output
    refused(analyze("energy", path, "--layer", "layer5"), "--layer: layer5 not in this backbone; allowed: stage1, ")


def test_an_unstable_attention_pool_is_counted_and_said(trained, tmp_path, monkeypatch):
    """The figure is each picture's own; where positions cancel, the command says on how many pictures."""
    path = tmp_path / "run" / "ckpt.pt"
    path.parent.mkdir()
    shutil.copy(trained[0], path)
    stable = analyze("energy", path, "--split", "target", "--pool", "attention")
    assert "warning" not in stable.stdout
    seen = []

    def near_zero(stage: torch.Tensor) -> torch.Tensor:
        seen.append(attention_stability(stage))
        return torch.where(torch.arange(len(stage)) == 0, 1e-4, seen[-1])

    monkeypatch.setattr("csg_analysis.features.pooled.attention_stability", near_zero)
    said = analyze("energy", path, "--split", "target", "--pool", "attention")
    assert "the attention pool is hardly defined on 3 of 9 pictures" in " ".join(said.stdout.split())
    record = json.loads((path.parent / "energy-target.json").read_text())
    values = torch.cat([torch.where(torch.arange(len(part)) == 0, 1e-4, part) for part in seen]).double()
    assert record["stability"] == {
        "below": 3,
        "mean": pytest.approx(float(values.mean())),
        "smallest": pytest.approx(1e-4),
    }
