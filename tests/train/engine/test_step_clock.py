"""What a step costs, by a clock that the test moves, on a CPU and by the events of a GPU; and what a run leaves."""

import json
from types import SimpleNamespace

import pytest
import torch
import yaml
from click.testing import CliRunner

from csg_train.cli import main as program
from csg_train.engine import step_clock
from csg_train.engine.step_clock import StepClock
from csg_train.runs.cost import read_cost

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


def recipe(probe=0):
    return SimpleNamespace(train=SimpleNamespace(probe=probe), method={"name": "csg"}, seed=3)


def run(clock, meter, seconds, first=1):
    for step, duration in enumerate(seconds, start=first):
        clock.now += duration
        meter.mark(step)


@pytest.fixture
def card(clock, monkeypatch):
    for name, value in {
        "synchronize": lambda _device: clock.catch_up(),
        "reset_peak_memory_stats": lambda _device: None,
        "max_memory_allocated": lambda _device: 7 * 2**20,
        "get_device_name": lambda _device: "Card",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def test_the_median_leaves_the_first_steps_and_one_that_saved_out(clock):
    meter = StepClock(recipe(), CPU)
    run(clock, meter, [9, 9, 9, 9, 9, 9, *[0.25] * 10, 60.0, 0.25])
    cost = meter.cost()
    assert (cost.steps, cost.step_ms, cost.method, cost.seed) == (12, 250, "csg", 3)
    assert cost.device
    assert cost.peak_bytes is None or cost.peak_bytes > 2**20


def test_too_few_steps_have_no_cost(clock):
    meter = StepClock(recipe(), CPU)
    run(clock, meter, [1.0] * 15)
    assert meter.cost() is None
    run(clock, meter, [1.0], first=16)
    assert meter.cost().steps == 10


def test_the_stages_of_lp_ft_are_weighted_by_their_steps(clock):
    """6 marks go first; then 4 steps of 0.1 s to the probe's end and 12 of 0.5 s: (4 x 100 + 12 x 500) / 16."""
    meter = StepClock(recipe(probe=10), CPU)
    run(clock, meter, [*[0.1] * 10, *[0.5] * 12])
    assert meter.cost().step_ms == pytest.approx(400)
    assert "weighted" in meter.cost().definition


@pytest.mark.usefixtures("card")
def test_a_gpu_is_timed_by_its_own_events(clock):
    """The host is done at once; the GPU comes 2 s later with every step."""
    meter = StepClock(recipe(), CUDA)
    for step in range(1, 21):
        clock.behind += 2.0
        meter.mark(step)
    assert meter.times == []
    cost = meter.cost()
    assert (cost.step_ms, cost.steps, cost.device, cost.peak_bytes) == (2000, 14, "Card", 7 * 2**20)
    assert cost.memory.startswith("allocated on the GPU")


def test_where_the_mark_cannot_be_set_back_no_memory_is_named(clock, monkeypatch):
    """It would be the most of an earlier run of a sweep."""
    monkeypatch.setattr(step_clock, "_forget_peak", lambda: False)
    meter = StepClock(recipe(), CPU)
    run(clock, meter, [1.0] * 20)
    assert meter.cost().peak_bytes is None


def test_a_run_leaves_its_cost_and_overwriting_takes_it_away(recipe_dict, tmp_path):
    path, out = tmp_path / "r.yaml", tmp_path / "out"
    for steps, options in ((17, []), (2, ["--overwrite"])):
        path.write_text(yaml.safe_dump(recipe_dict | {"train": recipe_dict["train"] | {"steps": steps}}))
        done = CliRunner().invoke(program, ["run", str(path), "--out", str(out), "--device", "cpu", *options])
        assert done.exit_code == 0, done.output
        assert (out / "cost.json").is_file() == (steps == 17)
        if steps == 17:
            cost = read_cost(out / "cost.json")
            assert (cost.steps, cost.threads, cost.processes) == (11, torch.get_num_threads(), 1)
            assert 0 < cost.step_ms < 60_000
            assert "step_ms" not in json.loads((out / "log.jsonl").read_text().splitlines()[-1])
