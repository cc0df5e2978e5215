"""Selection rules: the best step by an independent replay, ties, resume, and what records and tables say."""

import copy
import json
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.metrics import balanced_accuracy_score

from csg_train.data.readers.images import decode
from csg_train.data.views.transforms import evaluation_view
from csg_train.engine import loop as engine
from csg_train.engine.selection import is_due
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.reading import parse_recipe
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.provenance import run_info
from csg_train.runs.records import read_record
from tests.commands import assert_user_error, command
from tests.conftest import write_tree
from tests.nested import equal
from tests.train.methods.test_methods import CPU, run

STATE = ("recipe", "step", "data", "model", "method", "optimizer", "rng", "log_bytes", "selection", "best_score")


@pytest.fixture
def selecting(recipe_dict):
    """Eight quick steps in which the accuracy rises and falls; half of the source is held out."""
    recipe_dict["data"]["validation"] = {"dataset": "holdout", "fraction": 0.5}
    recipe_dict["model"]["weights"] = "none"
    recipe_dict["train"] |= {"steps": 8, "lr_head": 0.1, "lr_backbone": 0.003, "save_every": 3}
    recipe_dict["evaluate"] = {"select": "source-val", "select_every": 1}
    return recipe_dict


def rule(value: dict, select: str, every: int = 1) -> Recipe:
    return Recipe.model_validate(value | {"evaluate": {"select": select, "select_every": every}})


def replay(recipe: Recipe, split: str, out: Path, monkeypatch) -> tuple[list[float], list[dict]]:
    """Train without selection, keep the weights of every step, and measure each by scikit-learn, picture by picture."""
    states = []
    original = engine._Run._train_step

    def keep(self, batch):
        original(self, batch)
        states.append(copy.deepcopy(self.network.state_dict()))

    monkeypatch.setattr(engine._Run, "_train_step", keep)
    last = load_checkpoint(run(Recipe.model_validate(recipe.as_dict() | {"evaluate": {"select": "last"}}), out))
    monkeypatch.setattr(engine._Run, "_train_step", original)
    images = load_split(recipe.data, split, last.classes)
    views = [evaluation_view(decode(images.path(i)), size=recipe.data.size, fit="crop") for i in range(len(images))]
    network, scores = last.build_network(CPU), []
    for state in states:
        network.load_state_dict(state)
        network.eval()
        predicted = []
        for view in views:
            with torch.no_grad():
                pair = network(torch.stack([view, view.flip(-1)])).logits.double().sigmoid().mean(dim=0)
            predicted.append(int(pair.argmax()))
        scores.append(balanced_accuracy_score(images.labels, predicted))
    return scores, states


@pytest.mark.parametrize(("select", "split"), [("source-val", "validation"), ("oracle", "target")])
def test_best_is_the_first_best_of_an_independent_replay(select, split, selecting, tmp_path, monkeypatch):
    recipe = rule(selecting, select)
    scores, states = replay(recipe, split, tmp_path / "last", monkeypatch)
    assert len(set(scores)) > 1
    assert scores.index(max(scores)) < 7  # not the last step
    best = load_checkpoint(run(recipe, tmp_path / "run"))
    assert best.path == tmp_path / "run" / "best.pt"
    assert best.step == scores.index(max(scores)) + 1
    assert best.best_score == pytest.approx(max(scores), rel=1e-12)
    assert equal(best.model, dict(states[best.step - 1]))
    assert best.selection == run_info(best).selection == select
    last = load_checkpoint(tmp_path / "run" / "ckpt.pt")
    assert (last.step, last.selection, last.best_score) == (8, "last", best.best_score)
    assert equal(last.model, dict(states[-1]))  # measuring moves nothing
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row[f"accuracy_{split}"] for row in log] == pytest.approx(scores, rel=1e-12)


def test_last_measures_nothing_and_writes_no_best(recipe_dict, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "score", None)
    path = run(Recipe.model_validate(recipe_dict), tmp_path / "run")
    assert path.name == "ckpt.pt"
    assert not (tmp_path / "run" / "best.pt").exists()
    assert (load_checkpoint(path).selection, load_checkpoint(path).best_score) == ("last", None)


@pytest.mark.parametrize(
    ("every", "steps", "due"), [(3, 8, [3, 6, 8]), (4, 8, [4, 8]), (500, 8, [8]), (1, 3, [1, 2, 3])]
)
def test_measured_at_every_nth_step_and_the_last(every, steps, due, selecting):
    selecting["train"]["steps"] = steps
    recipe = rule(selecting, "oracle", every)
    assert [step for step in range(1, steps + 1) if is_due(step, recipe)] == due


@pytest.mark.parametrize(("scores", "chosen"), [([0.2, 0.5, 0.5, 0.4], 4), ([0.5] * 4, 2), ([0.0, 0.1, 0.2, 0.3], 8)])
def test_a_tie_keeps_the_earlier(scores, chosen, selecting, tmp_path, monkeypatch):
    values = iter(scores)
    monkeypatch.setattr(engine, "score", lambda network, images, recipe: next(values))
    best = load_checkpoint(run(rule(selecting, "source-val", every=2), tmp_path / "run"))
    assert (best.step, best.best_score) == (chosen, max(scores))


@pytest.mark.parametrize(
    ("stop", "scores"),
    [
        ("step 1", (0.2, 0.5, 0.5, 0.1)),  # before any file
        ("step 5", (0.2, 0.5, 0.5, 0.1)),  # the best lies before, a tie after
        ("step 5", (0.6, 0.5, 0.55, 0.7)),  # a better one comes
        ("between the two files", (0.2, 0.5, 0.5, 0.1)),  # best.pt is ahead of ckpt.pt
    ],
)
def test_resume_equals_uninterrupted(stop, scores, selecting, tmp_path, monkeypatch):
    """Scores at steps 2, 4, 6 and 8; ``ckpt.pt`` is also saved at 3 and 6."""
    recipe = rule(selecting, "source-val", every=2)
    running: list[engine._Run] = []
    step_of = engine._Run._train_step

    def train_step(self, batch):
        running[:] = [self]
        if stop == f"step {self.step}" and not resumed:
            raise KeyboardInterrupt
        step_of(self, batch)

    save = engine.save_checkpoint

    def save_or_die(path, checkpoint):
        if stop.startswith("between") and path.name == "ckpt.pt" and checkpoint.step == 4 and not resumed:
            raise KeyboardInterrupt
        save(path, checkpoint)

    def score(network, images, recipe):
        return scores[running[0].step // 2 - 1]

    monkeypatch.setattr(engine, "score", score)
    monkeypatch.setattr(engine._Run, "_train_step", train_step)
    monkeypatch.setattr(engine, "save_checkpoint", save_or_die)
    resumed = True
    run(recipe, tmp_path / "whole")
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "parts")
    resumed = True
    run(recipe, tmp_path / "parts", resume=True)
    for name in ("best.pt", "ckpt.pt"):
        whole, parts = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "parts"))
        for field in STATE:
            assert equal(getattr(parts, field), getattr(whole, field)), (name, field)
    logs = [(tmp_path / folder / "log.jsonl").read_text() for folder in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_a_best_step_that_is_ahead_of_the_checkpoint_stays_the_best(selecting, tmp_path, monkeypatch):
    """On a GPU the resumed run may score lower there: the file was then best by a score that nobody remembered."""
    recipe, scores = rule(selecting, "source-val", every=2), iter((0.2, 0.9, 0.3, 0.4, 0.5))
    save = engine.save_checkpoint

    def save_or_die(path, checkpoint):
        if path.name == "ckpt.pt" and checkpoint.step == 4:
            raise KeyboardInterrupt
        save(path, checkpoint)

    monkeypatch.setattr(engine, "score", lambda network, images, recipe: next(scores))
    with monkeypatch.context() as patched:
        patched.setattr(engine, "save_checkpoint", save_or_die)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, tmp_path / "run")
    best = load_checkpoint(run(recipe, tmp_path / "run", resume=True))
    assert (best.step, best.best_score, load_checkpoint(tmp_path / "run" / "ckpt.pt").best_score) == (4, 0.9, 0.9)


def test_resume_refuses_a_missing_best_or_other_selection_pictures(selecting, trees, tmp_path):
    recipe = rule(selecting, "oracle")
    run(recipe, tmp_path / "run")
    best = tmp_path / "run" / "best.pt"
    best.rename(tmp_path / "away.pt")
    with pytest.raises(UserError, match=r"best\.pt: missing.*--overwrite"):
        run(recipe, tmp_path / "run", resume=True)
    (tmp_path / "away.pt").rename(best)
    assert run(recipe, tmp_path / "run", resume=True) == best
    selecting["data"]["target"]["root"] = str(tmp_path / "target")
    (tmp_path / "target").symlink_to(trees / "target")
    recipe = rule(selecting, "oracle")
    run(recipe, tmp_path / "other")
    (tmp_path / "target").unlink()
    write_tree(tmp_path / "others", seed=9)
    (tmp_path / "target").symlink_to(tmp_path / "others")
    with pytest.raises(UserError, match="selection or style pictures changed"):
        run(recipe, tmp_path / "other", resume=True)


def test_source_val_needs_validation_pictures(recipe_dict, recipe_file, tmp_path):
    with pytest.raises(UserError, match=r"x: evaluate: source-val .*data\.validation.*holdout"):
        parse_recipe(recipe_dict | {"evaluate": {"select": "source-val"}}, origin="x")
    result = command("csg-train", "run", recipe_file, "--set", "evaluate.select=source-val", cwd=tmp_path)
    assert_user_error(result, "evaluate", "data.validation")
    assert not (tmp_path / "runs").exists()
    for bad in ({"select": "best"}, {"select_every": 0}):
        with pytest.raises(UserError, match=f"evaluate.{next(iter(bad))}"):
            parse_recipe(recipe_dict | {"evaluate": bad}, origin="x")


def test_tables_and_records_say_the_rule_and_best_is_a_checkpoint_like_any(selecting, recipe_file, tmp_path):
    """Through the commands: titles, records, energy of best.pt, and --overwrite."""
    recipe_file.write_text(yaml.safe_dump(selecting))
    out = tmp_path / "run"
    result = command("csg-train", "run", recipe_file, "--out", out, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    step = load_checkpoint(out / "best.pt").step
    assert f"accuracy of the step chosen by source-val ({step})" in result.stdout
    record = read_record(out / "accuracy-target.json")
    assert (record.run.selection, record.run.step) == ("source-val", step)
    assert record.run.checkpoint_sha256 == load_checkpoint(out / "best.pt").sha256
    held = read_record(out / "accuracy-validation.json")
    assert held.mean_per_class == pytest.approx(load_checkpoint(out / "best.pt").best_score, rel=1e-12)
    result = command("csg-analyze", "energy", out / "best.pt", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert read_record(out / "energy-target.json").run.selection == "source-val"
    sets = ("--set", "evaluate.select=oracle", "--overwrite")
    result = command("csg-train", "run", recipe_file, "--out", out, *sets, cwd=tmp_path)
    assert "CHOSEN ON THE TARGET" in result.stdout
    record = read_record(out / "accuracy-target.json")
    assert (record.run.selection, record.data.split) == ("oracle", "target")
    assert record.mean_per_class == pytest.approx(load_checkpoint(out / "best.pt").best_score, rel=1e-12)
    result = command(
        "csg-train", "run", recipe_file, "--out", out, "--set", "evaluate.select=last", "--overwrite", cwd=tmp_path
    )
    assert "accuracy of the last step (8)" in result.stdout
    assert not (out / "best.pt").exists()


def test_a_checkpoint_of_the_first_version_is_of_the_last_step(recipe_dict, tmp_path):
    path = run(Recipe.model_validate(recipe_dict), tmp_path / "run")
    content = torch.load(path, weights_only=True)
    for name in ("selection", "best_score"):
        del content[name]
    for section, name in (("train", "sgd"), ("evaluate", "select"), ("evaluate", "select_every")):
        del content["recipe"][section][name]
    groups = content["optimizer"]["param_groups"]  # two groups without names, as they were
    merged = {key: value for key, value in groups[0].items() if key != "name"}
    merged["params"] = [index for group in groups[:-1] for index in group["params"]]
    content["optimizer"]["param_groups"] = [merged, {key: value for key, value in groups[-1].items() if key != "name"}]
    torch.save(content, path)
    old = load_checkpoint(path)
    assert (old.selection, old.best_score, run_info(old).selection) == ("last", None, "last")
    assert run(Recipe.model_validate(recipe_dict), tmp_path / "run", resume=True) == path
