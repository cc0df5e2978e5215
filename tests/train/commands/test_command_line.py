"""What all commands share: --quiet, --json, colour, completion at the Tab key; and TensorBoard's event files."""

import json
import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from csg_analysis.cli import main as analyze
from csg_analysis.report.cli import main as report
from csg_train import __version__
from csg_train.cli import main as train
from csg_train.commands.tensorboard import tensorboard
from csg_train.console import console, print_json
from csg_train.engine.loop import train as train_run
from csg_train.errors import UserError
from csg_train.evaluate.either import measure
from csg_train.methods.options import OPTIONS
from csg_train.methods.table import METHODS
from csg_train.recipes.reading import load_recipe, parse_recipe
from csg_train.runs.tensorboard import convert, find_logs
from csg_train.runs.training_log import read_log
from tests.analysis.report.cases import write_run
from tests.conftest import CLASSES, write_tree
from tests.sketched import sketch

PROGRAMS = {"csg-train": train, "csg-analyze": analyze, "csg-report": report}
TABLES = {
    *("csg-train run", "csg-train sweep", "csg-train methods", "csg-train data check"),
    "csg-train recipes",
    *(
        "csg-analyze accuracy",
        "csg-analyze attention",
        "csg-analyze choose",
        "csg-analyze compare",
        "csg-analyze energy",
    ),
    *("csg-report diff", "csg-report verify"),
}
"""Commands that print numbers or lists."""


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for part, child in command.commands.items():
        yield from leaves(child, f"{name} {part}")


ALL = {name: command for program, main in PROGRAMS.items() for name, command in leaves(main, program)}


def invoke(*arguments: object, main: click.Command = train):
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.parametrize("name", ALL)
def test_every_command_takes_quiet_once_and_those_with_tables_take_json(name):
    options = [flag for parameter in ALL[name].params for flag in parameter.opts]
    assert options.count("--quiet") == 1
    assert options.count("--json") >= (name in TABLES)


def test_quiet_prints_errors_only_and_lasts_one_command(recipe_file, tmp_path):
    done = invoke("run", recipe_file, "--out", tmp_path / "run", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "run" / "accuracy-target.json").exists()
    refused = invoke("run", "nope", "--quiet")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "nope: no such recipe" in refused.stderr
    assert "csg  CSG" in invoke("methods").stdout


@pytest.mark.parametrize("arguments", [("methods",), ("run", "nope"), ("run", "nope", "--seed", "x")])
def test_what_a_process_prints_after_a_command_is_as_before_it(arguments, capsys):
    for option in ("--json", "--quiet"):
        invoke(*arguments, option)
        console.print(option)
        assert capsys.readouterr() == (f"{option}\n", "")


def test_a_run_that_predicts_one_class_says_so(recipe_file, tmp_path, monkeypatch):
    def first_class(*given, **options):
        record = measure(*given, **options)
        confusion = [[sum(row), *[0] * (len(row) - 1)] for row in record.confusion]
        return record.model_copy(update={"confusion": confusion})

    monkeypatch.setattr("csg_train.evaluate.measure", first_class)
    done = invoke("run", recipe_file, "--set", "train.steps=1", "--out", tmp_path / "run")
    assert (done.exit_code, done.output.count("only bus was predicted; lower the learning rates")) == (0, 2)


def test_json_of_a_run_is_its_records_and_the_rest_goes_to_standard_error(recipe_file, tmp_path):
    done = invoke("run", recipe_file, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 0
    written = [json.loads((tmp_path / "run" / f"accuracy-{split}.json").read_text()) for split in ("source", "target")]
    assert json.loads(done.stdout) == written
    assert "baseline seed 0 4/5 lr_factor" in done.stderr
    assert "baseline seed 0" not in invoke("methods").stderr


def test_json_of_a_sweep_is_the_records_that_it_made(recipe_file, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        yaml.safe_dump({"recipe": str(recipe_file), "vary": {"seed": {"s0": ["seed=0"], "s1": ["seed=1"]}}})
    )
    records = json.loads(invoke("sweep", file, "--out", tmp_path / "runs", "--json").stdout)
    assert [(record["run"]["seed"], record["data"]["split"]) for record in records] == [
        *((0, "source"), (0, "target"), (1, "source"), (1, "target")),
    ]
    assert json.loads(invoke("sweep", file, "--out", tmp_path / "runs", "--json").stdout) == []


def test_recipes_are_listed_and_printed_as_the_beginning_of_ones_own(tmp_path):
    listed = invoke("recipes").stdout
    for row in json.loads(invoke("recipes", "--json").stdout):
        recipe = load_recipe(row["name"])
        assert (row["model"]["backbone"], row["method"]["name"]) == (recipe.model.backbone, recipe.method["name"])
        assert row["name"] in listed
        own = tmp_path / "own.yaml"
        own.write_text(invoke("recipes", row["name"]).stdout)
        assert load_recipe(str(own)) == recipe
    assert "#" in own.read_text()
    assert invoke("recipes", "digit").exit_code == 2


def test_json_of_methods_has_every_field_with_its_default():
    rows = {row["name"]: row for row in json.loads(invoke("methods", "--json").stdout)}
    assert list(rows) == [*METHODS, *(option.name for option in OPTIONS)]
    assert rows["swad"]["field"] == "average: {rule: swad}, with data.validation"
    assert all(row["cost"] and row["deviation"] for row in rows.values())
    assert rows["csg"]["equation"] == METHODS["csg"].info.equation
    assert rows["csg"]["fields"]["temperature"]["default"] == 0.07
    assert rows["csg"]["fields"]["layers"]["default"] == ["layer3", "layer4"]
    assert "default" not in rows["domain-randomization"]["fields"]["styles"]
    assert rows["baseline"]["fields"] == {}


def test_json_of_a_check_counts_and_lists_bad_files_which_are_named_in_the_error(recipe_file, tmp_path):
    root = tmp_path / "own"
    write_tree(root)
    (root / "car" / "1.png").write_bytes(b"")
    done = invoke("data", "check", recipe_file, "--set", f"data.source.root={root}", "--json", "--quiet")
    found = json.loads(done.stdout)
    assert found["source"]["counts"] == dict.fromkeys(CLASSES, 4)
    assert found["target"]["counts"] == dict.fromkeys(CLASSES, 3)
    assert [bad["file"] for bad in found["source"]["bad"]] == ["car/1.png"]
    assert (found["target"]["bad"], len(found["target"]["identity"])) == ([], 64)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert str(root / "car" / "1.png") in line


def test_json_of_masks_counts_pixels_and_the_ignored(masked_recipe_dict, tmp_path):
    file = tmp_path / "masked.yaml"
    file.write_text(json.dumps(masked_recipe_dict))
    found = json.loads(invoke("data", "check", file, "--json").stdout)["source"]
    assert found["ignored"] == pytest.approx(1 / 36)  # one row of each mask
    assert sum(found["pixels"].values()) == 6 * 35 * 40


def test_json_of_what_is_not_finite_is_null_and_floats_keep_every_digit(capsys):
    print_json({"nan": math.nan, "inf": [math.inf], "third": 1 / 3, "sum": 0.1 + 0.2})
    assert json.loads(capsys.readouterr().out) == {"nan": None, "inf": [None], "third": 1 / 3, "sum": 0.1 + 0.2}


def test_verify_prints_what_does_not_agree_also_when_quiet(tmp_path, monkeypatch):
    sketch(monkeypatch.setattr)
    write_run(tmp_path / "runs", "baseline", right=50)
    built = tmp_path / "report"
    assert invoke("build", tmp_path / "runs", "--out", built, "--quiet", main=report).output == ""

    def verify(*options: str):
        return invoke("verify", built, tmp_path / "runs", *options, main=report)

    quiet = verify("--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert json.loads(verify("--json").stdout)["faults"] == []
    page = built / "index.html"
    page.write_text(page.read_text() + " ")
    done = verify("--json")
    (fault,) = json.loads(done.stdout)["faults"]
    assert (done.exit_code, str(page) in fault) == (2, True)
    assert verify("--quiet").stdout == f"{fault}\n"


SCREEN = """
from csg_train.console import print_table, progress
with progress("title", 2) as report:
    report(1, {"loss": 0.5})
print_table("a table", ["name", "value"], [["x", "1"]])
"""


def on_terminal(**variables: str) -> str:
    """What a terminal of 256 colours receives."""
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    ours, theirs = pty.openpty()
    environment = plain | {"TERM": "xterm-256color"} | variables
    child = subprocess.Popen([sys.executable, "-c", SCREEN], stdout=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    received = b""
    try:
        while block := os.read(ours, 4096):
            received += block
    except OSError:  # the end of a terminal, on Linux
        pass
    finally:
        os.close(ours)
    assert child.wait() == 0
    return received.decode()


def colours(text: str) -> list[str]:
    """The codes that set a colour."""
    codes = [code for sequence in re.findall(r"\x1b\[([\d;]*)m", text) for code in sequence.split(";")]
    return [code for code in codes if re.fullmatch(r"3\d|4\d|9\d|10\d", code)]


def test_colour_on_a_terminal_unless_no_color():
    assert colours(on_terminal())
    silent = on_terminal(NO_COLOR="1")
    assert "title" in silent
    assert colours(silent) == []


def test_no_code_reaches_a_pipe():
    done = subprocess.run([sys.executable, "-c", SCREEN], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert "title 1/2 loss 0.5\n" in done.stdout


def completed(*arguments: str) -> list[str]:
    """What the Tab key offers after ``csg-train ARGUMENTS``; a file completion is ``<file>``."""
    items = ShellComplete(train, {}, "csg-train", "_CSG_TRAIN_COMPLETE").get_completions(
        [*arguments[:-1]], arguments[-1]
    )
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in items]


def test_tab_offers_recipes_files_and_methods(recipe_file):
    assert completed("run", "dig") == ["digits"]
    assert completed("data", "check", "gta5-resnet50-a") == ["gta5-resnet50-asg"]
    assert completed("run", "./my") == ["<file>"]
    assert completed("run", "digits", "--set", "") == [f"method.name={name}" for name in METHODS]
    assert completed("run", "digits", "--set", "method.name=c") == ["method.name=csg"]
    assert completed("run", "digits", "--set", "train.") == []


def test_the_shell_finds_every_command():
    programs = [Path(sys.executable).parent / name for name in PROGRAMS]
    started = [subprocess.Popen([program, "--version"], stdout=subprocess.PIPE, text=True) for program in programs]
    printed = [process.communicate(timeout=100)[0] for process in started]
    assert printed == [f"{program.name}, version {__version__}\n" for program in programs]


def test_bash_completes(tmp_path):
    script = """
        source <(_CSG_TRAIN_COMPLETE=bash_source csg-train)
        COMP_WORDS=(csg-train run dig) COMP_CWORD=2
        _csg_train_completion csg-train
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "digits\n"


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that TensorBoard itself reads from a folder."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        name: [(event.step, event.value) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def test_event_files_hold_the_log_also_after_an_interruption(recipe_dict, tmp_path):
    pytest.importorskip("tensorboard")
    recipe, out = parse_recipe(recipe_dict, origin="test"), tmp_path / "runs" / "base"
    options = {"device": torch.device("cpu"), "overwrite": False}

    def cut(step: int, _values: dict[str, float]) -> None:
        if step == 4:  # logged, and not in the checkpoint of step 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(recipe, out, resume=False, report=cut, **options)
    assert invoke("tensorboard", tmp_path / "runs", "--out", tmp_path / "events").exit_code == 0
    assert [step for step, _ in events(tmp_path / "events" / "base")["loss"]] == [1, 2, 3, 4]

    train_run(recipe, out, resume=True, report=lambda _step, _values: None, **options)
    assert invoke("tensorboard", tmp_path / "runs", "--out", tmp_path / "events").exit_code == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    read = events(tmp_path / "events" / "base")
    assert set(read) == set(log[0]) - {"step"} == {"loss", "ce", "lr_factor"}
    for name, points in read.items():
        assert points == [(row["step"], np.float32(row[name])) for row in log]
    assert [step for step, _ in read["loss"]] == [1, 2, 3, 4, 5]


def test_the_events_of_another_run_of_the_same_name_stay(tmp_path):
    """They were replaced without a word: the log of runs/other/csg-s0 for that of runs/my/csg-s0."""
    pytest.importorskip("tensorboard")
    for name, loss in (("my", 1.5), ("other", 2.5)):
        (tmp_path / name / "csg-s0").mkdir(parents=True)
        (tmp_path / name / "csg-s0" / "log.jsonl").write_text(json.dumps({"step": 1, "loss": loss}) + "\n")
    mine, other, out = tmp_path / "my" / "csg-s0", tmp_path / "other" / "csg-s0", tmp_path / "out"
    for _ in range(2):  # the same run again is no other
        assert invoke("tensorboard", mine, "--out", out).exit_code == 0
    result = invoke("tensorboard", other, "--out", out)
    assert result.exit_code == 2
    assert f"{out / 'csg-s0'}: has the events of {mine}; choose another --out" in " ".join(result.output.split())
    assert events(out / "csg-s0")["loss"] == [(1, 1.5)]
    assert invoke("tensorboard", mine, other, "--out", out / "both").exit_code == 0
    assert events(out / "both" / "other" / "csg-s0")["loss"] == [(1, 2.5)]


def test_no_events_are_written_where_one_log_is_bad(tmp_path):
    pytest.importorskip("tensorboard")
    for name, content in (("a", '{"step": 1, "loss": 1.0}\n'), ("b", "no log\n")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "log.jsonl").write_text(content)
    assert invoke("tensorboard", tmp_path / "runs", "--out", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_equal_logs_give_equal_bytes(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.1}\n{"step": 2, "loss": 1e-05}\n{"step": 3, "lo')
    first, second = (convert(tmp_path / "log.jsonl", tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second
    assert events(tmp_path / "a") == {"loss": [(1, np.float32(0.1)), (2, np.float32(1e-05))]}


def test_runs_are_named_by_their_folders(tmp_path):
    for name in ("a/csg-s0", "b/csg-s0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "log.jsonl").touch()
    assert list(find_logs([tmp_path])) == ["a/csg-s0", "b/csg-s0"]
    assert list(find_logs([tmp_path / "a", tmp_path / "b" / "csg-s0"])) == ["a/csg-s0", "b/csg-s0"]
    assert list(find_logs([tmp_path / "a"])) == ["csg-s0"]
    with pytest.raises(UserError, match=r"none: no log\.jsonl"):
        find_logs([tmp_path / "none"])


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', '{"step": 1, "loss": "high"}'])
def test_a_damaged_log_names_its_line_and_leaves_no_file(line, tmp_path):
    (tmp_path / "log.jsonl").write_text(f'{{"step": 1, "loss": 0.1}}\n{line}\n')
    with pytest.raises(UserError, match=r"log\.jsonl:2: not a line of a training log"):
        read_log(tmp_path / "log.jsonl")


def test_without_tensorboard_one_line_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.1}\n')
    for module in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = invoke(tmp_path, "--out", tmp_path / "events", main=tensorboard)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'csg-toolkit[tensorboard]'" in done.stderr
    assert not (tmp_path / "events").exists()
