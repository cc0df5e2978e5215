"""Sweeps: order, shards, skipping what is finished, and refusals, through the real command where it matters."""

import copy
import json
import shutil
import signal

import pytest
import yaml
from click.testing import CliRunner
from filelock import FileLock

from csg_train.cli import main
from csg_train.engine.loop import train
from csg_train.errors import UserError
from csg_train.recipes import ready
from csg_train.recipes.network import build_network
from csg_train.recipes.sections import Recipe
from csg_train.recipes.sweep import Planned, load_sweep, shard
from tests.commands import assert_user_error, command


@pytest.fixture
def sweep_file(recipe_file, tmp_path):
    vary = {
        "method": {"base": ["method.name=baseline"], "frozen": ["method.name=oracle"]},
        "seed": {"s0": ["seed=0", "train.steps=2"], "s1": ["seed=1", "train.steps=2"]},
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"recipe": str(recipe_file), "vary": vary}))
    return path


def test_every_combination_in_order_and_shards_divide_them(sweep_file):
    runs = load_sweep(sweep_file)
    assert [run.name for run in runs] == ["base-s0", "base-s1", "frozen-s0", "frozen-s1"]
    assert [(run.recipe.method["name"], run.recipe.seed) for run in runs[1:3]] == [("baseline", 1), ("oracle", 0)]
    parts = [run.name for i in (1, 2, 3) for run in shard(runs, f"{i}/3")]
    assert sorted(parts) == [run.name for run in runs]
    for text in ("0/2", "3/2", "1", "a/b"):
        with pytest.raises(UserError, match="--shard"):
            shard(runs, text)


def test_finished_runs_are_skipped_and_a_changed_sweep_is_refused(sweep_file, tmp_path):
    def run(*arguments):
        return command("csg-train", "sweep", sweep_file, "--out", tmp_path / "runs", *arguments, cwd=tmp_path)

    assert "2 runs, 0 finished" in run("--shard", "1/2").stdout
    before = (tmp_path / "runs" / "base-s0" / "ckpt.pt").stat().st_mtime_ns
    result = run()
    assert "4 runs, 2 finished" in result.stdout
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "base-s0" / "ckpt.pt").stat().st_mtime_ns == before
    assert (tmp_path / "runs" / "frozen-s1" / "accuracy-target.json").exists()
    sweep_file.write_text(sweep_file.read_text().replace("train.steps=2", "train.steps=3"))
    assert_user_error(run(), "another recipe")


def test_what_was_measured_before_the_end_is_not_the_run_s(sweep_file, tmp_path):
    """By ``csg-analyze`` beside the training; the process may end before its own measuring."""
    sweep_file.write_text(sweep_file.read_text().replace("train.steps=2", "train.log_every=1"))
    planned, out = load_sweep(sweep_file)[0], tmp_path / "runs"
    record, energy = (out / planned.name / f"{kind}-target.json" for kind in ("accuracy", "energy"))

    def measured(step, _values):
        if step == 5:
            assert not energy.exists()  # before the row of the last step is written
        else:
            energy.write_text("of before the end")
        record.write_text(json.dumps({"run": {"step": min(step, 4)}}))  # as one that was begun before and ends now

    train(planned.recipe, out / planned.name, report=measured)
    assert not energy.exists()
    assert record.exists()
    assert not planned.finished(out)
    record.write_text(json.dumps({"run": {"step": 5}}))
    assert planned.finished(out)


def test_a_folder_that_another_sweep_takes_meanwhile_costs_its_own_run_alone(sweep_file, tmp_path, monkeypatch):
    finished, asked = Planned.finished, []

    def taken(self, out, split="target"):
        asked.append(self.name)
        if asked.count("base-s0") == 2 and self.name == "base-s0":
            raise UserError("taken")
        return finished(self, out, split)

    monkeypatch.setattr(Planned, "finished", taken)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["sweep", str(sweep_file), "--out", "runs", "--shard", "1/2", "--device", "cpu"])
    assert (result.exit_code, "1 of 2 runs failed: base-s0: taken" in result.output) == (2, True)
    assert (tmp_path / "runs" / "frozen-s0" / "accuracy-target.json").exists()


def test_an_interrupted_run_that_was_measured_by_hand_goes_on(sweep_file, tmp_path):
    """It counted as finished: it was never trained to the end, without a word."""

    def run(*arguments):
        return command("csg-train", *arguments, cwd=tmp_path)

    planned = load_sweep(sweep_file)[0]
    out = tmp_path / "runs" / planned.name
    assert run("sweep", sweep_file, "--shard", "1/4", "--out", "runs").returncode == 0
    log = (out / "log.jsonl").read_text().splitlines(keepends=True)
    assert planned.finished(tmp_path / "runs")
    (out / "log.jsonl").write_text(log[0])
    assert not planned.finished(tmp_path / "runs")
    (out / "log.jsonl").write_text("no row")
    assert not planned.finished(tmp_path / "runs")
    (out / "log.jsonl").unlink()  # of a run of which the records were kept
    assert planned.finished(tmp_path / "runs")


def test_a_run_recorded_before_a_field_existed_is_finished_still(sweep_file, tmp_path):
    planned = load_sweep(sweep_file)[0]
    folder = tmp_path / planned.name
    folder.mkdir()
    fields = planned.recipe.as_dict()
    del fields["train"]["sgd"], fields["evaluate"]["select"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(fields))
    assert not planned.finished(tmp_path)
    (folder / "accuracy-target.json").write_text("{}")
    assert planned.finished(tmp_path)
    fields["train"]["workers"] = 3  # as a run of which a loader process died went on
    (folder / "recipe.yaml").write_text(yaml.safe_dump(fields))
    assert planned.finished(tmp_path)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(fields | {"evaluate": {"select": "oracle"}}))
    with pytest.raises(UserError, match="another recipe"):
        planned.finished(tmp_path)


def test_a_run_recorded_before_its_penalty_had_two_forms_is_one_of_the_gradient(sweep_file, tmp_path):
    methods = {"l2": ["method.name=weight-l2"], "pull": ["method.name=weight-l2", "method.update=gradient"]}
    sweep_file.write_text(yaml.safe_dump(yaml.safe_load(sweep_file.read_text()) | {"vary": {"method": methods}}))
    for planned, other in zip(load_sweep(sweep_file), (True, False), strict=True):
        folder = tmp_path / planned.name
        folder.mkdir()
        fields = planned.recipe.as_dict()
        del fields["method"]["update"]
        (folder / "recipe.yaml").write_text(yaml.safe_dump(fields))
        (folder / "accuracy-target.json").write_text("{}")
        (folder / "log.jsonl").write_text("")
        if other:
            with pytest.raises(UserError, match="another recipe"):
                planned.finished(tmp_path)
        else:
            assert planned.finished(tmp_path)


def test_a_fault_in_any_run_is_found_before_the_first_starts(sweep_file, tmp_path):
    sweep_file.write_text(sweep_file.read_text().replace("method.name=oracle", "method.name=magic"))
    result = command("csg-train", "sweep", sweep_file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert_user_error(result, "magic")
    assert not (tmp_path / "runs").exists()


def test_blind_trials_never_open_the_target_and_are_finished_later(
    sweep_file, recipe_dict, recipe_file, trees, tmp_path
):
    """The target's folder is not even there; the sweep that measures it finds the training done."""
    recipe_dict["data"]["validation"] = {"dataset": "holdout", "fraction": 0.3}
    recipe_dict["data"]["target"]["root"] = str(tmp_path / "target")
    recipe_file.write_text(yaml.safe_dump(recipe_dict))

    def run(*arguments):
        return command("csg-train", "sweep", sweep_file, "--out", tmp_path / "runs", *arguments, cwd=tmp_path)

    first = run("--blind")
    assert first.returncode == 0, first.stderr
    assert "target" not in first.stdout
    assert sorted(path.name for path in (tmp_path / "runs" / "base-s0").glob("accuracy-*")) == [
        "accuracy-source.json",
        "accuracy-validation.json",
    ]
    assert "4 runs, 4 finished" in run("--blind").stdout
    recipe_file.write_text(yaml.safe_dump(recipe_dict | {"data": {**recipe_dict["data"], "validation": None}}))
    assert run("--blind", "--shard", "1/4", "--out", tmp_path / "none").returncode == 0
    again = run("--blind", "--shard", "1/4", "--out", tmp_path / "none")
    assert "1 runs, 1 finished" in again.stdout, "the source is all that it measures"
    recipe_file.write_text(yaml.safe_dump(recipe_dict))
    trained = (tmp_path / "runs" / "base-s0" / "ckpt.pt").read_bytes()
    shutil.copytree(trees / "target", tmp_path / "target")
    assert "4 runs, 0 finished" in run().stdout
    assert (tmp_path / "runs" / "base-s0" / "accuracy-target.json").exists()
    assert (tmp_path / "runs" / "base-s0" / "ckpt.pt").read_bytes() == trained
    assert_user_error(
        command("csg-train", "run", recipe_file, "--blind", "--set", "evaluate.select=oracle", cwd=tmp_path), "--blind"
    )


@pytest.mark.parametrize(
    ("vary", "parts"),
    [
        ({"s": {"a": ["seed=0", "seed=1"]}}, ("a: seed is set twice",)),
        ({"s": {"a": ["seed=0"]}, "t": {"b": ["seed=1"]}}, ("a-b: seed is set twice",)),
        ({"s": {"a": ["seed=0"], "b": ["seed=0"]}}, ("a and b are the same run",)),
        (
            {"x": {"a-b": ["seed=0"], "a": ["seed=1"]}, "y": {"c": ["train.steps=1"], "b-c": ["train.steps=2"]}},
            ("two runs are both called a-b-c",),
        ),
        ({"s": {"a": ["seed=x"]}}, ("sweep.yaml: a: ", "seed", "it should be a whole number")),
        ({"s": {1: ["seed=0"]}}, ("vary.s.1", "quotes")),
    ],
)
def test_what_would_count_twice_or_be_lost_is_refused_before_the_first_run(vary, parts, recipe_file, tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"recipe": str(recipe_file), "vary": vary}))
    with pytest.raises(UserError) as caught:
        load_sweep(tmp_path / "sweep.yaml")
    for part in parts:
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("fault", "part"), [("data.target.root=none", "none: no such folder"), ("data.size=1", "size")]
)
def test_a_fault_of_the_last_run_is_found_before_the_first(fault, part, sweep_file, tmp_path):
    """It ended the sweep hours later, and its line did not say whose it was."""
    sweep_file.write_text(sweep_file.read_text().replace("seed=1", fault))
    result = command("csg-train", "sweep", sweep_file, "--out", tmp_path / "runs", cwd=tmp_path)
    assert_user_error(result, f"{sweep_file}: base-s1: ", part)
    assert not (tmp_path / "runs").exists()


def test_a_blind_sweep_that_would_open_the_target_ends_before_its_first_run(sweep_file, tmp_path):
    sweep_file.write_text(sweep_file.read_text().replace("seed=1", "evaluate.select=oracle"))
    result = command("csg-train", "sweep", sweep_file, "--blind", "--out", tmp_path / "runs", cwd=tmp_path)
    assert_user_error(result, f"{sweep_file}: base-s1: --blind: evaluate.select oracle")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_another_call_ended_meanwhile_is_left_as_it_is(sweep_file, tmp_path, monkeypatch):
    """It was measured again, under the eyes of whoever was reading its records."""
    trained = []

    def run(_recipe, out, *_arguments, **_options):
        trained.append(out.name)
        return []

    monkeypatch.setattr("csg_train.commands.run._run", run)
    monkeypatch.setattr(Planned, "finished", lambda one, _out, _split: one.name == "frozen-s0" and bool(trained))
    CliRunner().invoke(main, ["sweep", str(sweep_file), "--out", str(tmp_path / "runs")], catch_exceptions=False)
    assert trained == ["base-s0", "base-s1", "frozen-s1"]


def test_a_run_that_goes_on_is_measured_again(sweep_file, tmp_path):
    """Interrupted and looked at, then trained to the end without being measured: the old number stood for the new."""
    sweep_file.write_text(sweep_file.read_text().replace("train.steps=2", "train.log_every=1"))
    one = load_sweep(sweep_file)[0]
    folder = tmp_path / "runs" / one.name

    def interrupt(step, _values):
        if step == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        train(one.recipe, folder, device="cpu", report=interrupt)
    for split in ("source", "target"):
        assert command("csg-analyze", "accuracy", folder / "ckpt.pt", "--split", split, cwd=tmp_path).returncode == 0
    (folder / "notes.txt").write_text("mine")
    train(one.recipe, folder, device="cpu", resume=True)
    assert not list(folder.glob("accuracy-*"))
    assert (folder / "notes.txt").exists()
    assert not one.finished(tmp_path / "runs")
    done = command("csg-train", "sweep", sweep_file, "--out", tmp_path / "runs", "--shard", "1/4", cwd=tmp_path)
    assert "1 runs, 0 finished" in done.stdout
    assert one.finished(tmp_path / "runs")
    record = json.loads((folder / "accuracy-target.json").read_text())
    assert record["run"]["step"] == one.recipe.train.steps > 1


def test_several_runs_of_one_torchrun_are_refused_before_the_first(sweep_file, tmp_path):
    """The first was trained to its end, for hours."""
    words = ("csg-train", "sweep", sweep_file, "--out", "runs")
    refused = command(*words, cwd=tmp_path, env={"WORLD_SIZE": "2", "LOCAL_RANK": "0"})
    assert_user_error(refused, "torchrun: trains one run a start", "--shard")
    assert not (tmp_path / "runs").exists()


def test_settings_are_tried_once_whatever_the_seeds_and_pictures(recipe_dict, trees, monkeypatch):
    """A third of a second each time, twice a run; what is refused is refused again, and so are more classes."""
    tried = []
    monkeypatch.setattr(ready, "_trainable", set())
    monkeypatch.setattr(ready, "build_network", lambda *given, **how: tried.append(how) or build_network(*given, **how))
    other = copy.deepcopy(recipe_dict) | {"seed": 1, "name": "other"}
    other["data"]["target"]["root"] = str(trees / "source")
    for plan in (recipe_dict, other, recipe_dict):
        ready.require_trainable(Recipe.model_validate(plan), classes=3)
    assert len(tried) == 1
    ready.require_trainable(Recipe.model_validate(other), classes=4)
    ready.require_trainable(Recipe.model_validate(other | {"method": {"name": "csg"}}), classes=4)
    assert len(tried) == 3
    wrong = Recipe.model_validate(other | {"train": other["train"] | {"frozen": ["layer9"]}})
    for _ in range(2):
        with pytest.raises(UserError, match="layer9"):
            ready.require_trainable(wrong, classes=4)


def test_a_run_that_fails_costs_the_others_nothing(recipe_file, tmp_path):
    """It ended the sweep."""
    vary = {"rate": {"high": ["train.lr_backbone=1.0e+30", "train.lr_head=1.0e+30"], "low": []}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"recipe": str(recipe_file), "vary": vary}))
    result = command("csg-train", "sweep", "sweep.yaml", "--out", "runs", cwd=tmp_path)
    assert_user_error(result, "sweep.yaml: 1 of 2 runs failed: high: ", "not finite")
    assert "failed: high: " in result.stdout
    assert [path.parent.name for path in (tmp_path / "runs").glob("*/accuracy-target.json")] == ["low"]


def test_a_run_in_the_hands_of_another_call_is_left_to_it(recipe_file, tmp_path):
    """Two calls over one folder counted each other's runs as failed, and ended with exit code 2."""
    vary = {"seed": {"s0": ["seed=0"], "s1": ["seed=1"]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"recipe": str(recipe_file), "vary": vary}))
    (tmp_path / "runs" / "s0").mkdir(parents=True)
    with FileLock(tmp_path / "runs" / "s0" / ".lock"):
        result = command("csg-train", "sweep", "sweep.yaml", "--out", "runs", cwd=tmp_path)
    assert result.returncode == 0
    assert "s0: left to another csg-train" in result.stdout
    assert [path.parent.name for path in (tmp_path / "runs").glob("*/accuracy-target.json")] == ["s1"]
