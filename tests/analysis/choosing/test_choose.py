"""``csg-analyze choose`` on runs of a few steps: what it reads, what it writes, what it refuses."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from csg_analysis.choosing.table import MEASURES
from csg_train.engine.loop import train
from csg_train.files import sha256_file
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.analysis.conftest import analyze, refused
from tests.conftest import write_tree

HELD = {"dataset": "holdout", "fraction": 0.25}


def trained_run(recipe: dict, folder: Path, *overrides: str) -> Path:
    parsed = parse_recipe(recipe, overrides=overrides, origin="tests")
    options = {"device": torch.device("cpu"), "resume": False, "overwrite": False}
    return train(parsed, folder, report=lambda _done, _values: None, **options)


@pytest.fixture(scope="module")
def recipe(trees: Path, weights: Path) -> dict:
    return {
        "name": "tiny",
        "data": {
            "source": {"dataset": "folder", "root": str(trees / "source")},
            "target": {"dataset": "folder", "root": str(trees / "target")},
            "validation": HELD,
            "size": 32,
        },
        "model": {"backbone": "narrow", "weights": str(weights), "hidden": 8},
        "method": {"name": "baseline"},
        "train": {"steps": 2, "batch_size": 4, "lr_head": 0.1, "lr_backbone": 0.01, "warmup": 0},
    }


@pytest.fixture(scope="module")
def three(recipe: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two seeds of one setting, and a third run that differs in its learning rate."""
    out = tmp_path_factory.mktemp("choose") / "runs"
    changes = {"s0": "seed=0", "s1": "seed=1", "fast": "train.lr_head=0.5"}
    paths = [trained_run(recipe, out / name, change) for name, change in changes.items()]
    return paths[0], paths[1], paths[2]


def records(result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def values(record: dict) -> dict[str, float | None]:
    return {name: one["value"] for name, one in record["measures"].items()}


def test_it_writes_what_it_prints_and_every_number_is_that_of_the_other_commands(three):
    found = records(analyze("choose", *three, "--json"))
    energies = records(analyze("energy", *three, "--split", "target", "--json"))
    ranks = records(analyze("compare", *three, "--split", "target", "--json"))
    held = records(analyze("accuracy", *three, "--split", "validation", "--json"))
    real = records(analyze("accuracy", *three, "--split", "target", "--json"))
    for path, record, energy, rank, inner, outer in zip(three, found, energies, ranks, held, real, strict=True):
        assert json.loads((path.parent / "choosing-target.json").read_text()) == record
        assert record["run"] == energy["run"]
        assert record["run"]["checkpoint_sha256"] == sha256_file(path)
        assert (record["data"], record["held_out"]) == (outer["data"], inner["data"])
        assert (record["layer"], record["pool"], record["dim"], record["flip"]) == ("layer4", "average", 64, True)
        assert record["together"] == [sha256_file(other) for other in three]
        own = values(record)
        assert own["E_0"] == pytest.approx(energy["mhe"]["0"], rel=1e-6)
        assert own["effective rank"] == pytest.approx(rank["measures"]["effective rank"], rel=1e-6)
        assert own["held-out accuracy"] == pytest.approx(inner["mean_per_class"])
        assert set(own) == set(MEASURES)
    assert [values(record)["seed agreement"] for record in found][2] is None
    assert values(found[0])["seed agreement"] == values(found[1])["seed agreement"]


def test_the_labels_of_the_target_are_not_read(three, trees):
    """The same pictures without labels give every number again."""
    labelled = records(analyze("choose", *three, "--json"))
    plain = records(analyze("choose", *three, "--target", trees / "target", "--json"))
    assert plain[0]["data"]["identity"] != labelled[0]["data"]["identity"]
    assert [values(record) for record in plain] == [values(record) for record in labelled]


def test_the_table_marks_what_each_measure_chooses(three):
    printed = records(analyze("choose", *three, "--json"))
    found = dict(zip(("s0", "s1", "fast"), map(values, printed), strict=True))
    text = analyze("choose", *three).stdout
    for name, measure in MEASURES.items():
        known = {run: own[name] for run, own in found.items() if own[name] is not None}
        best = (max if measure.higher_is_better else min)(known.values())
        chosen = ", ".join(run for run in ("s0", "s1", "fast") if known.get(run) == best)
        better = "higher" if measure.higher_is_better else "lower"
        assert f"{name}, {better} is better: {chosen}. {measure.definition} ({measure.source})" in text
        assert f"* {best:.4f}" in text
    assert "no seed agreement of fast: no other run to agree with" in text
    assert "undefined" in text


def saved_as(path: Path, into: Path, **changes: object) -> Path:
    """The weights of a run under another recipe."""
    own = load_checkpoint(path)
    into.mkdir()
    save_checkpoint(into / "ckpt.pt", dataclasses.replace(own, recipe=own.recipe | changes))
    return into / "ckpt.pt"


def test_a_run_of_the_same_weights_agrees_with_it_and_is_chosen_beside_it(three, tmp_path):
    first, second = records(analyze("choose", three[0], saved_as(three[0], tmp_path / "seed", seed=7), "--json"))
    assert values(first) == values(second)
    assert values(first)["seed agreement"] == values(first)["run agreement"] == 1


def test_a_copy_of_a_run_is_no_other_seed(three, tmp_path):
    """It agreed with itself, in both measures of agreement."""
    copy = tmp_path / "copy" / "ckpt.pt"
    copy.parent.mkdir()
    shutil.copy(three[0], copy)
    refused(analyze("choose", three[0], copy), f"{copy}: the same checkpoint as {three[0]}")
    again = saved_as(three[0], tmp_path / "again", for_scale=None)  # nothing that says another run
    save_checkpoint(again, dataclasses.replace(load_checkpoint(again), versions={"torch": "another"}))
    first, _ = records(analyze("choose", three[0], again, "--json"))
    assert values(first)["seed agreement"] is None


def test_a_run_beside_its_snapshot_and_a_step_that_labels_chose(three, tmp_path):
    """Names tell the two apart, and the oracle is named."""
    first, second = tmp_path / "run/ckpt.pt", tmp_path / "run/along/000002/ckpt.pt"
    second.parent.mkdir(parents=True)
    shutil.copy(three[0], first)
    save_checkpoint(second, dataclasses.replace(load_checkpoint(three[1]), selection="oracle"))
    text = analyze("choose", first, second).stdout
    assert "held-out accuracy, higher is better: run" in text
    assert "warning: labels of a target chose the step of run/along/000002 (oracle)" in text


def test_without_mirror_images_confidence_is_that_of_the_picture(three):
    for record in records(analyze("choose", *three[:2], "--set", "evaluate.flip=false", "--layer", "layer3", "--json")):
        assert (record["flip"], record["layer"], record["dim"]) == (False, "layer3", 32)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("0",), ("s0/ckpt.pt", "nothing to choose from")),
        (("0", "0"), ("s0", "choosing-target.json", "one of them")),
        (("0", "1", "--target", "nowhere"), ("nowhere", "no such file or folder")),
        (("0", "1", "--target", "empty"), ("empty", "no images")),
        (("0", "1", "--layer", "layer9"), ("layer9", "layer4")),
        (("0", "1", "--set", "data.validation=null"), ("s0/ckpt.pt", "data.validation", "--set")),
        (("0", "1", "--set", "data.validation.fraction=0.5"), ("s0/ckpt.pt", "holdout", "trained on")),
        (("0", "gone/ckpt.pt"), ("gone/ckpt.pt", "no such checkpoint")),
        (("0", "1", "--set", "{held}"), ("s0/ckpt.pt", "9 of its pictures are the target's; name synthetic ones")),
        (("0", "1", "--set", "{source}"), ("s0/ckpt.pt", "trained on", "of its pictures; name others")),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(three, trees, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("s0", "s1"):
        (tmp_path / name).mkdir()
        shutil.copy(three[0].parent.parent / name / "ckpt.pt", tmp_path / name)
    splits = {
        f"{{{name}}}": f"data.validation={json.dumps({'dataset': 'folder', 'root': str(trees / folder)})}"
        for name, folder in (("held", "target"), ("source", "source"))
    }
    given = [f"s{one}/ckpt.pt" if one in ("0", "1") else splits.get(one, one) for one in arguments]
    refused(analyze("choose", *given), *parts)
    assert not list(tmp_path.rglob("choosing-target.json"))


def test_a_copy_of_the_training_pictures_is_not_held_out_wherever_they_are_now(recipe, trees, tmp_path, monkeypatch):
    """All pictures were trained on, and the recipe's folder is gone: what they are is known of the checkpoint."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trees / "source", tmp_path / "source")
    data = recipe["data"] | {"source": {"dataset": "folder", "root": "source"}, "validation": None}
    for seed in (0, 1):
        trained_run(recipe | {"data": data, "seed": seed}, tmp_path / f"s{seed}")
    shutil.copytree(tmp_path / "source", tmp_path / "copy")
    copy = json.dumps({"dataset": "folder", "root": "copy", "name": "source"})
    done = analyze("choose", "s0/ckpt.pt", "s1/ckpt.pt", "--set", f"data.validation={copy}")
    refused(done, "the run was trained on 12 of its pictures; name others")
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    held = json.dumps({"dataset": "folder", "root": "elsewhere", "name": "source"})
    done = analyze("choose", "s0/ckpt.pt", "s1/ckpt.pt", "--set", f"data.validation={held}")
    refused(done, "the run was trained on 12 of its pictures; name others")


def test_runs_that_are_not_alike_are_refused(three, recipe, masked_recipe_dict, tmp_path):
    masked = trained_run(masked_recipe_dict, tmp_path / "masked", "train.steps=1", "train.batch_size=2")
    refused(analyze("choose", three[0], masked), str(masked), "a segmentation")
    for name, seed in (("source", 1), ("target", 2)):
        write_tree(tmp_path / name, seed=seed)
    moved = [f"data.{name}.root={tmp_path / name}" for name in ("source", "target")]
    other = trained_run(recipe, tmp_path / "other", *moved, "train.steps=1")
    refused(analyze("choose", three[0], other), str(other), "data.target", str(three[0]))
    for name in ("source", "target"):
        (tmp_path / name / "truck").rename(tmp_path / name / "van")
    van = trained_run(recipe, tmp_path / "van", *moved, "train.steps=1")
    refused(analyze("choose", three[0], van), str(van), "other classes (truck, van)")


@pytest.mark.parametrize(
    ("first", "second", "seeds"),
    [
        ({}, {"step": 1}, False),
        ({"selection": "source-val", "step": 1}, {"selection": "source-val"}, True),
        ({}, {"selection": "source-val"}, False),
        ({}, {"averaged": {"rule": "soup", "of": []}}, False),
    ],
)
def test_seeds_of_one_setting_share_the_step_or_the_rule_that_chose_it(three, tmp_path, first, second, seeds):
    paths = [tmp_path / name / "ckpt.pt" for name in ("s0", "s1")]
    for path, own, changes in zip(paths, three, (first, second), strict=False):
        path.parent.mkdir()
        save_checkpoint(path, dataclasses.replace(load_checkpoint(own), **changes))
    found = [values(record)["seed agreement"] for record in records(analyze("choose", *paths, "--json"))]
    assert [value is not None for value in found] == [seeds] * 2


def test_a_seed_is_one_whatever_loads_its_pictures_and_wherever_they_lie(three, recipe, trees, tmp_path):
    """What changes no number made a run of another setting: the agreement of the others changed without it."""
    shutil.copytree(trees / "source", tmp_path / "elsewhere")
    data = recipe["data"] | {"source": {"dataset": "folder", "root": str(tmp_path / "elsewhere"), "name": "source"}}
    other = recipe | {"data": data, "name": "renamed"}
    quiet = ("train.save_every=1", "train.snapshots=2", "evaluate.select_every=1")
    trained_run(other, tmp_path / "s1", "seed=1", "train.workers=1", "train.log_every=1", *quiet)
    ((_, mine), (_, theirs)) = (
        [values(record) for record in records(analyze("choose", str(three[0]), str(second), "--json"))]
        for second in (three[1], tmp_path / "s1" / "ckpt.pt")
    )
    assert mine["seed agreement"] is not None
    assert theirs["seed agreement"] == mine["seed agreement"]


def test_seeds_share_the_starting_weights_wherever_these_lie(three, tmp_path):
    """A file of that name may have held others; the same ones may have another name."""
    for name, weights in (("same", None), ("other", "0" * 64)):
        paths = [tmp_path / name / seed / "ckpt.pt" for seed in ("s0", "s1")]
        for path, own in zip(paths, three, strict=False):
            path.parent.mkdir(parents=True)
            old = load_checkpoint(own)
            recipe = old.recipe | {"model": old.recipe["model"] | {"weights": str(path.with_name("w.pth"))}}
            save_checkpoint(path, dataclasses.replace(old, recipe=recipe, weights=weights or old.weights))
            weights = None  # of the second run
        found = [values(record)["seed agreement"] for record in records(analyze("choose", *paths, "--json"))]
        assert [value is not None for value in found] == [name == "same"] * 2


def test_the_title_counts_the_pictures_of_either_side(three):
    """Nine photos; of 12 renders a quarter is held out."""
    text = " ".join(analyze("choose", *three).stdout.split())
    assert "9 pictures of target, 3 held-out ones of source" in text
    assert "average pool of layer4, d = 64;" in text


def test_of_runs_alike_each_has_a_star(three, tmp_path):
    pair = (three[0], saved_as(three[0], tmp_path / "seed", seed=7))
    text, found = analyze("choose", *pair).stdout, values(records(analyze("choose", *pair, "--json"))[0])
    assert text.count(f"* {found['confidence']:.4f}") == 2
