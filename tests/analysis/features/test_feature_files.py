"""Features on disk: equal to those in memory, complete or absent, and named row by row."""

import csv
import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from csg_analysis.choosing.outputs import network_outputs
from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.features.files import Definitions, FeatureFile, open_features, write_rows
from csg_analysis.features.pooled import Stability, extract, pooled_batches
from csg_train.data.loaders.loader import evaluation_batches
from csg_train.errors import UserError
from csg_train.files import together
from csg_train.models.backbones import Backbone
from csg_train.recipes.pictures import load_split
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.provenance import data_info, run_info
from csg_train.runs.records import read_record
from tests.analysis.conftest import analyze, refused


@pytest.fixture(scope="module")
def opened(trained):
    checkpoint = load_checkpoint(trained[0])
    recipe = checkpoint.resolved_recipe()
    images = load_split(recipe.data, "target", checkpoint.classes)
    return checkpoint, checkpoint.build_network(torch.device("cpu")), recipe, images


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("features") / "out"
    options = ("--layer", "layer3", "--layer", "layer4", "--pool", "attention", "--out", out)
    result = analyze("features", *trained, *options)
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize("pool", ["average", "attention"])
def test_pools_are_their_formulas_in_float64(opened, pool):
    _, network, recipe, images = opened
    (batch,) = evaluation_batches(images, size=64, fit="crop", batch_size=100)
    with torch.no_grad():
        stage = network.backbone(batch.views[0]).stages["layer3"].double().numpy()
    expected = []
    for v in stage.reshape(len(stage), stage.shape[1], -1):
        share = v.T @ v.mean(1)
        expected.append(v.mean(1) if pool == "average" else v @ (share / share.sum()))
    rows = np.concatenate(
        [b["layer3"] for b in pooled_batches(network.backbone, images, recipe, layers=["layer3"], pool=pool)]
    )
    np.testing.assert_allclose(rows, expected, rtol=2e-5, atol=1e-6)


def test_files_are_the_features_in_memory_bit_by_bit(opened, written):
    checkpoint, network, recipe, images = opened
    for layer in ("layer3", "layer4"):
        rows, own = open_features(written / f"seed0-{layer}.npy")
        assert isinstance(rows, np.memmap)
        np.testing.assert_array_equal(rows, extract(network, images, recipe, layer=layer, pool="attention"))
        assert (own.layer, own.pool, own.dtype, own.count) == (layer, "attention", "float32", 9)
        assert own.run == run_info(checkpoint)
        assert own.data.identity == images.identity
    assert not np.array_equal(np.load(written / "seed1-layer4.npy"), rows)


def test_equal_pictures_have_equal_features_in_any_batch(opened, trees, tmp_path, monkeypatch):
    """A last batch of another size is rounded otherwise: they lay 1e-7 apart, were not counted and made E_2 1e10."""
    checkpoint, network, _, _ = opened
    shutil.copytree(trees / "target", tmp_path / "own")
    for name in ("8.png", "9.png"):
        shutil.copy(tmp_path / "own" / "bus" / "0.png", tmp_path / "own" / "truck" / name)
    plain = Backbone.forward

    def rounding(self, images):
        found = plain(self, images)
        off_C = 1 + len(images) * 1e-7 * (torch.arange(512) % 2)
        return replace(found, stages={"layer4": found.stages["layer4"] * off_C[:, None, None]})

    monkeypatch.setattr(Backbone, "forward", rounding)
    root = f"data.target.root={tmp_path / 'own'}"
    energies = []
    for size in (11, 5, 2):
        own = checkpoint.resolved_recipe((root, f"train.batch_size={size}"))
        images = load_split(own.data, "target", checkpoint.classes)
        assert images.files[0] == "bus/0.png"
        rows_ND = extract(network, images, own)
        assert (rows_ND == rows_ND[0]).all(axis=1).tolist() == [True, *[False] * 8, True, True]
        np.testing.assert_array_equal(network_outputs(network, images, own, layer="layer4").features_ND, rows_ND)
        out = tmp_path / f"out{size}"
        result = analyze("features", checkpoint.path, "--set", root, "--set", f"train.batch_size={size}", "--out", out)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(np.load(out / f"{checkpoint.path.parent.name}-layer4.npy"), rows_ND)
        energies.append(hyperspherical_energy(rows_ND, s=2))
    assert [energy.coincident_pairs for energy in energies] == [3, 3, 3]
    assert energies[2].paper[2].value == pytest.approx(energies[0].paper[2].value, rel=1e-4)


def test_index_names_every_row(opened, written):
    images = opened[3]
    with (written / "seed0.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == list(images.files)
    assert [row["label"] for row in rows] == [Path(file).parent.name for file in images.files]
    assert [int(row["row"]) for row in rows] == list(range(9))


def test_a_matrix_that_was_replaced_is_refused(written, tmp_path):
    shutil.copytree(written, tmp_path / "out")
    path = tmp_path / "out" / "seed0-layer4.npy"
    np.save(path, np.load(path)[::-1])
    refused(analyze("energy", "--features", path), "seed0-layer4.npy: changed since features.json was written")


def test_energy_of_the_file_is_that_in_memory(opened, written):
    _, network, recipe, images = opened
    path = written / "seed0-layer3.npy"
    result = analyze("energy", "--features", path, "--json")
    assert result.exit_code == 0, result.output
    (printed,) = json.loads(result.stdout)
    memory = hyperspherical_energy(extract(network, images, recipe, layer="layer3", pool="attention"))
    for s, estimate in memory.mhe.items():
        assert printed["mhe"][f"{s:g}"] == pytest.approx(estimate.value, rel=1e-12)
        assert printed["interval"][f"{s:g}"]["high"] == pytest.approx(estimate.high, rel=1e-12)
    record = read_record(path.with_suffix(".energy.json"))
    assert record.model_dump(mode="json") == printed
    assert (record.layer, record.pool, record.data.count) == ("layer3", "attention", 9)


def test_half_precision_is_the_nearest_float16_and_says_so(trained, opened, tmp_path):
    _, network, recipe, images = opened
    assert analyze("features", trained[0], "--half", "--out", tmp_path / "half").exit_code == 0
    rows, own = open_features(tmp_path / "half" / "seed0-layer4.npy")
    assert own.dtype == "float16"
    np.testing.assert_array_equal(rows, extract(network, images, recipe).astype(np.float16))
    result = analyze("energy", "--features", tmp_path / "half" / "seed0-layer4.npy", "--json")
    assert json.loads(result.stdout)[0]["dtype"] == "float16"


def rows_of(images, *batches, dtype="float32", folder):
    with together(folder) as work:
        return write_rows(work, "run", images, {"layer4": 2}, [{"layer4": batch} for batch in batches], dtype=dtype)


@pytest.mark.parametrize("count", [8, 10])
def test_too_few_or_too_many_rows_leave_nothing(opened, tmp_path, count):
    with pytest.raises(UserError, match=f"{count} feature rows for 9 pictures"):
        rows_of(opened[3], np.ones((5, 2)), np.ones((count - 5, 2)), folder=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_number_beyond_half_precision_leaves_nothing(opened, tmp_path):
    rows = np.ones((9, 2), dtype=np.float32)
    rows[3, 1] = 65504
    rows_of(opened[3], rows, dtype="float16", folder=tmp_path / "fits")
    rows[3, 1] = 65520  # the first that rounds to infinity
    with pytest.raises(UserError, match="beyond 65504"):
        rows_of(opened[3], rows, dtype="float16", folder=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["fits"]


def test_an_interrupted_extraction_leaves_nothing(opened, tmp_path):
    def batches():
        yield {"layer4": np.ones((5, 2))}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), together(tmp_path / "out") as work:
        write_rows(work, "run", opened[3], {"layer4": 2}, batches(), dtype="float32")
    assert list(tmp_path.iterdir()) == []


def test_one_forward_pass_a_batch_whatever_the_layers(opened):
    _, network, recipe, images = opened
    calls = []
    hook = network.backbone.net.conv1.register_forward_hook(lambda *_: calls.append(1))
    batches = list(pooled_batches(network.backbone, images, recipe, layers=["layer3", "layer4"]))
    hook.remove()
    assert len(calls) == len(batches) == 3  # 9 pictures by fours
    assert [set(batch) for batch in batches] == [{"layer3", "layer4"}] * 3


def test_mistakes_are_one_line(trained, written, tmp_path):
    refused(analyze("features", trained[0], "--out", written), str(written), "not an empty folder")
    refused(analyze("features", trained[0], "--out", "."), "not an empty folder")
    refused(analyze("features", trained[0], "--layer", "layer9", "--out", tmp_path / "a"), "layer9", "layer4")
    refused(analyze("features", trained[0], trained[0], "--out", tmp_path / "a"), "seed0-LAYER.npy")
    refused(analyze("features", trained[0], "--split", "validation", "--out", tmp_path / "a"), "data.validation")
    refused(analyze("energy"), "--features")
    refused(analyze("energy", trained[0], "--features", written / "seed0-layer3.npy"), "only one of the three")
    refused(analyze("energy", "--features", written / "seed0-layer3.npy", "--pool", "average"), "--pool")
    refused(analyze("energy", "--features", tmp_path / "none.npy"), "none.npy", "no such file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "run.csv").write_text("row,file,label\n"), "run.csv: missing or changed"),
        (lambda folder: (folder / "run.csv").unlink(), "run.csv: missing or changed"),
        (lambda folder: (folder / "features.json").write_text("{}"), "not a csg-features/1"),
        (lambda folder: np.save(folder / "run-layer4.npy", np.ones((9, 3), np.float32)), "not the 9 x 2 float32"),
        (lambda folder: np.save(folder / "run-layer4.npy", np.ones((9, 2))), "not the 9 x 2 float32"),
        (lambda folder: (folder / "run-layer4.npy").write_bytes(b"\x93NUMPY"), "not a complete .npy"),
        (lambda folder: (folder / "run-layer4.npy").rename(folder / "other.npy"), "no such file"),
    ],
)
def test_rows_names_and_definition_must_agree(opened, tmp_path, damage, message):
    checkpoint, _, _, images = opened
    folder = tmp_path / "out"
    digest = rows_of(images, np.eye(9, 2, dtype=np.float32), folder=folder)
    data = data_info(images, split="target", recipe=checkpoint.resolved_recipe())
    own = FeatureFile(
        run=run_info(checkpoint),
        data=data,
        layer="layer4",
        pool="average",
        dtype="float32",
        count=9,
        dim=2,
        index="run.csv",
        index_sha256=digest,
    )
    Definitions(files={"run-layer4.npy": own}).write(folder)
    open_features(folder / "run-layer4.npy")
    damage(folder)
    with pytest.raises(UserError, match=message):
        open_features(folder / "run-layer4.npy")


MEMORY = """
    import sys
    from pathlib import Path
    import numpy as np
    from benchmarks.memory import watched
    from csg_analysis.features.files import write_rows
    from csg_train.data.readers.images import ImageSet

    COUNT, WIDTH, BATCH = 40_000, 1024, 500  # 164 MB
    files = tuple(f"{row}.png" for row in range(COUNT))
    images = ImageSet("many", Path(), files, (0,) * COUNT, ("only",))
    batch = np.ones((BATCH, WIDTH), dtype=np.float32)
    batches = ({"layer4": batch} for _ in range(COUNT // BATCH))
    with watched() as peak:
        write_rows(Path(sys.argv[1]), "run", images, {"layer4": WIDTH}, batches, dtype="float32")
    print(*peak)
"""


def test_writing_keeps_no_more_than_a_batch_in_memory(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), str(tmp_path)]
    root = Path(__file__).parents[3]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=300).stdout
    assert float(output) < 64
    rows = np.load(tmp_path / "run-layer4.npy", mmap_mode="r")
    assert rows.shape == (40_000, 1024)


def test_the_stability_of_a_pool_is_over_all_pictures_of_all_batches():
    """Two positions of one channel: (2, 2) has 1, (1, -1) has 0, (3, 1) has 2^2 / 5."""
    seen = Stability()
    seen.see("layer4", torch.tensor([[2.0, 2.0], [1.0, -1.0]]).view(2, 1, 1, 2))
    seen.see("layer4", torch.tensor([[3.0, 1.0]]).view(1, 1, 1, 2))
    found = seen.of("layer4")
    assert (found.mean, found.smallest, found.below) == (pytest.approx(0.6), 0, 1)
    assert seen.of("layer3") is None
