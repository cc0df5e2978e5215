"""What Python hands out of a checkpoint is what the commands measure."""

import json
import shutil

import numpy as np
import pytest
import torch

from csg_analysis import hyperspherical_energy, pooled_features, uniform_energy
from csg_train import measure_accuracy
from csg_train.errors import UserError
from tests.analysis.conftest import analyze


def test_accuracy_is_the_command_s_and_lies_beside_the_checkpoint(trained, tmp_path):
    run = shutil.copytree(trained[0].parent, tmp_path / "run")
    assert analyze("accuracy", run / "ckpt.pt", "--split", "target").exit_code == 0
    files = [run / name for name in ("accuracy-target.json", "confusion-target.csv")]
    written = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    record = measure_accuracy(run / "ckpt.pt", device="cpu")
    assert [path.read_bytes() for path in files] == written
    assert json.loads(written[0])["mean_per_class"] == record.mean_per_class
    assert record.data.count == 9


@pytest.mark.parametrize("pool", ["average", "attention"])
def test_the_energy_of_the_features_is_the_command_s(trained, tmp_path, pool):
    run = shutil.copytree(trained[0].parent, tmp_path / "run")
    words = ("energy", run / "ckpt.pt", "--split", "source", "--layer", "layer3", "--pool", pool)
    done = analyze(*words)
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    rows = pooled_features(run / "ckpt.pt", "source", layer="layer3", pool=pool, device="cpu")
    record = json.loads((run / "energy-source.json").read_text())
    assert (rows.shape, rows.dtype) == ((record["data"]["count"], 256), np.float32)
    labels = np.repeat(["bus", "car", "truck"], 4)
    energy = hyperspherical_energy(rows, labels=labels).mhe
    assert hyperspherical_energy(rows).mhe[0].value == energy[0].value
    for part in ("value", "uniform", "simplex", "within", "between"):
        expected = {f"{s:g}": getattr(estimate, part) for s, estimate in energy.items()}
        assert record["mhe" if part == "value" else part] == expected
    assert f"uniform directions in 256 dimensions, mhe: E_0 {uniform_energy(256, 0, convention='mhe'):.4f}, " in said


def test_another_pool_is_refused(trained):
    with pytest.raises(UserError, match='pool \'avg\'; choose "average" or "attention"'):
        pooled_features(trained[0], pool="avg", device="cpu")


def test_the_defaults_of_the_program_around_it_change_nothing(trained, tmp_path):
    run = shutil.copytree(trained[0].parent, tmp_path / "run")
    rows, record = pooled_features(run / "ckpt.pt", device="cpu"), measure_accuracy(run / "ckpt.pt", device="cpu")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        assert np.array_equal(pooled_features(run / "ckpt.pt", device="cpu"), rows)
        assert measure_accuracy(run / "ckpt.pt", device="cpu") == record
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert np.array_equal(pooled_features(run / "ckpt.pt", device="cpu"), rows)  # torch 2.8 had lost the device


@pytest.mark.parametrize("act", [measure_accuracy, pooled_features])
@pytest.mark.parametrize("split", ["validation", "size", "test"])
def test_a_split_that_the_recipe_does_not_have(trained, act, split):
    with pytest.raises(UserError, match=f"data.{split}: not in this recipe"):
        act(trained[0], split)
