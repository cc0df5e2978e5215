"""The trace of some steps, by the command; the run is the same with and without it."""

import functools
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from csg_train.cli import main as program
from csg_train.engine import loop as engine
from csg_train.engine.profiling import require_steps
from csg_train.errors import UserError
from csg_train.runs.checkpoint import load_checkpoint
from tests.nested import equal


def steps_of(path: Path) -> list[str]:
    """Of each step that a trace holds the name, with the number that the profiler gave it."""
    events = json.loads(path.read_text())["traceEvents"]
    return sorted({event["name"] for event in events if event.get("name", "").startswith("ProfilerStep#")})


@pytest.fixture
def eight(recipe_dict, tmp_path):
    """A file of the tiny recipe with eight steps, and a function that runs it into a folder."""
    path = tmp_path / "eight.yaml"
    path.write_text(yaml.safe_dump(recipe_dict | {"train": recipe_dict["train"] | {"steps": 8, "save_every": 3}}))
    command = functools.partial(CliRunner().invoke, program)
    return lambda out, *options: command(["run", str(path), "--out", str(tmp_path / out), "--device", "cpu", *options])


def test_the_steps_after_the_first_five_and_the_numbers_of_a_run_without(eight, tmp_path):
    assert eight("plain").exit_code == 0
    done = eight("profiled", "--profile", "2")
    assert done.exit_code == 0, done.output
    trace = tmp_path / "profiled/profile.json"
    assert steps_of(trace) == ["ProfilerStep#5", "ProfilerStep#6"]
    assert any(event.get("name") == "aten::convolution" for event in json.loads(trace.read_text())["traceEvents"])
    plain, profiled = (load_checkpoint(tmp_path / name / "ckpt.pt") for name in ("plain", "profiled"))
    for name in ("recipe", "model", "method", "optimizer", "rng", "log_bytes"):
        assert equal(getattr(plain, name), getattr(profiled, name)), name
    assert not [path for path in (tmp_path / "profiled").iterdir() if path.name.endswith(".tmp")]
    assert eight("profiled", "--overwrite").exit_code == 0
    assert not trace.exists()  # of the run before


def test_an_interrupted_run_keeps_what_was_recorded_and_goes_on(eight, tmp_path, monkeypatch):
    original = engine._Run._train_step

    def die(self, batch):
        if self.step == 6:
            raise KeyboardInterrupt
        original(self, batch)

    monkeypatch.setattr(engine._Run, "_train_step", die)
    assert eight("parts", "--profile", "3").exit_code != 0
    monkeypatch.setattr(engine._Run, "_train_step", original)
    assert steps_of(tmp_path / "parts/profile.json")[0] == "ProfilerStep#5"
    assert eight("parts", "--resume").exit_code == 0
    assert eight("whole").exit_code == 0
    parts, whole = (load_checkpoint(tmp_path / name / "ckpt.pt") for name in ("parts", "whole"))
    assert equal(parts.model, whole.model)


def test_more_steps_than_are_left_are_refused_before_the_first(eight, tmp_path):
    refused = eight("run", "--profile", "4")
    assert refused.exit_code == 2
    assert "--profile 4: profiles that many steps after 5 others; the run has 8 left; ask for fewer" in refused.output
    assert not (tmp_path / "run/log.jsonl").exists()
    with pytest.raises(UserError, match="--profile -1: "):
        require_steps(-1, 100)
    assert eight("run").exit_code == 0
    finished = eight("run", "--resume", "--profile", "1")
    assert finished.exit_code == 2
    assert "the run has 0 left" in finished.output
