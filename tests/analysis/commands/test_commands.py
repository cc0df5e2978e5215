"""``csg-analyze`` and ``csg-report`` on awkward but legal data, through the real commands."""

import json
import math
import shutil

import pytest
import torch
import yaml

from tests.analysis.conftest import analyze, refused
from tests.commands import assert_user_error, command
from tests.conftest import write_tree


@pytest.mark.parametrize(("rule", "value"), [("infinite", None), ("exclude", 1.0)])
def test_coincident_pairs_are_counted_and_an_infinite_energy_is_said(rule, value, recipe_file, tmp_path):
    """A copied picture: infinite by rule, null in the record, a dash in the report, never a traceback."""
    write_tree(tmp_path / "target", per_class=2)
    shutil.copy(tmp_path / "target" / "bus" / "0.png", tmp_path / "target" / "bus" / "1.png")
    where = ("--set", f"data.target.root={tmp_path / 'target'}")
    assert command("csg-train", "run", recipe_file, *where, "--out", "run", cwd=tmp_path).returncode == 0
    options = ("--split", "target", "--coincident", rule)
    result = command("csg-analyze", "energy", tmp_path / "run" / "ckpt.pt", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert ("infinite" in result.stdout) == (rule == "infinite")
    record = json.loads((tmp_path / "run" / "energy-target.json").read_text())
    assert record["coincident"] == 1
    assert [type(record["mhe"][s]) for s in "012"] == [type(value)] * 3
    assert len(record["interval"]) == (3 if rule == "exclude" else 0)
    built = command("csg-report", "build", "run", "--out", "report", cwd=tmp_path)
    assert built.returncode == 0, built.stderr


def test_energy_of_two_pictures_has_no_interval(recipe_file, tmp_path):
    write_tree(tmp_path / "two", per_class=1)
    shutil.rmtree(tmp_path / "two" / "truck")
    shutil.copytree(tmp_path / "two", tmp_path / "real")
    sets = ("--set", f"data.source.root={tmp_path / 'two'}", "--set", f"data.target.root={tmp_path / 'real'}")
    assert command("csg-train", "run", recipe_file, *sets, "--out", "run", cwd=tmp_path).returncode == 0
    result = command("csg-analyze", "energy", tmp_path / "run" / "ckpt.pt", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "run" / "energy-target.json").read_text())["interval"] == {}


@pytest.mark.parametrize("act", ["accuracy", "energy", "compare", "attention", "gradcam"])
def test_what_was_trained_on_is_no_target(act, trained, trees, tmp_path, monkeypatch):
    """Measured after a blind run or with --set, it was called the target's."""
    here, one_of_it = tmp_path / "here", tmp_path / "real"
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copytree(trained[0].parent, "run")
    before = sorted(here.rglob("*"))
    write_tree(one_of_it, seed=5)
    (one_of_it / "bus" / "linked.png").symlink_to(trees / "source" / "bus" / "0.png")
    for root, count in {trees / "source": 12, one_of_it: 1}.items():
        where = ("--images", "target", "--out", "maps") if act == "gradcam" else ("--split", "target")
        done = analyze(act, "run/ckpt.pt", *where, "--set", f"data.target.root={root}")
        refused(done, "run/ckpt.pt: data.target: the run was trained on", f"{count} of its pictures")
        assert sorted(here.rglob("*")) == before


def test_accuracy_of_other_classes_is_another_table(trained, tmp_path):
    """In one table the numbers of the second stood beside the names of the first."""
    saved = torch.load(trained[0], weights_only=True)
    for name, classes in {"other": [*saved["classes"][::-1]], "same": saved["classes"]}.items():
        (tmp_path / name).mkdir()
        torch.save(saved | {"classes": classes}, tmp_path / name / "ckpt.pt")
    paths = [tmp_path / name / "ckpt.pt" for name in ("other", "same")]
    result = analyze("accuracy", *paths, "--split", "target")
    assert result.exit_code == 0, result.output
    words = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("│")]
    first, second = words[: len(words) // 2], words[len(words) // 2 :]
    assert first[1:4] == saved["classes"][::-1]
    assert second[1:4] == saved["classes"]


def test_a_network_that_gives_no_numbers_is_not_measured(recipe_file, tmp_path):
    """Every comparison with NaN is false, so the largest of its logits was the first class's: a number, and wrong."""
    sets = ("--set", "train.steps=1", "--blind", "--quiet")
    assert command("csg-train", "run", recipe_file, *sets, "--out", "o", cwd=tmp_path).returncode == 0
    saved = torch.load(tmp_path / "o" / "ckpt.pt", weights_only=True)
    weights = {name: value.clone() for name, value in saved["model"].items()}
    for factor, parts in ((math.nan, ("bad.pt", "conv1.weight is not finite")), (1e25, ("not finite", "diverged"))):
        for name in weights:
            if weights[name].ndim == 4:
                saved["model"][name] = weights[name] * factor
        torch.save(saved, tmp_path / "bad.pt")
        for words in (("accuracy", "bad.pt"), ("energy", "bad.pt"), ("features", "bad.pt", "--out", "f.npy")):
            assert_user_error(command("csg-analyze", *words, cwd=tmp_path), *parts)
        assert_user_error(command("csg-analyze", "gradcam", "bad.pt", "--out", "g", cwd=tmp_path), *parts)
        target = yaml.safe_load(recipe_file.read_text())["data"]["target"]["root"]
        result = command("csg-train", "predict", "bad.pt", target, "--out", "p.csv", cwd=tmp_path)
        assert_user_error(result, *parts)
        assert not (tmp_path / "p.csv").exists()
        assert not (tmp_path / "g").exists()


def test_gradcam_of_no_pictures_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = analyze("gradcam", "ckpt.pt", "--per-class", "-3")
    assert (result.exit_code, "--per-class" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    "change", ["method.name=ewc", "model.hidden=9", "train.precision=tf32", "evaluate.select=oracle"]
)
def test_what_a_checkpoint_was_trained_with_is_not_set_afterwards(change, trained, tmp_path):
    """Without a word the number was that of the checkpoint as it is."""
    for words in (("csg-analyze", "energy"), ("csg-train", "predict"), ("csg-train", "export")):
        result = command(*words, trained[0], "--set", change, cwd=tmp_path)
        assert_user_error(result, f"--set {change.partition('=')[0]}:", "keeps what it was trained with", "data")
