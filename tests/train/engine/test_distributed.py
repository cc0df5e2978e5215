"""A run of two gloo processes against the same run of one: losses, weights and queue; what two refuse, a killed one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import yaml
from PIL import Image
from torch import nn
from torchvision.ops import StochasticDepth

from csg_train import distributed
from csg_train.data.loaders.loader import uniform_order
from csg_train.distributed import highest, joined
from csg_train.engine import loop as engine
from csg_train.engine.signs import SIGNS, share_signs
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.snapshots import snapshot_folder
from tests.commands import Done, assert_user_error, command, commands, together
from tests.conftest import look_at_one_picture_of_each_split
from tests.narrow import Narrow
from tests.nested import equal
from tests.train.methods.test_methods import recipe_of, run

ARGUMENTS = ["run", "tiny.yaml", "--device", "cpu", "--out", "two"]


def torchrun(recipe: dict, folder: Path) -> subprocess.Popen:
    """What a user would type, but for the narrow backbone."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    program = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc-per-node", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [*program, "-m", "tests.narrow", *ARGUMENTS], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
    )


def run_two(recipe: dict, folder: Path, *options: str, before: Callable[[], object] = int) -> tuple[Done, Done]:
    """Two processes with the variables that torchrun gives them."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    envs = [both | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    first, second = commands("csg-train", *ARGUMENTS, *options, cwd=folder, envs=envs, before=before)
    return first, second


def train_two(recipe: dict, folder: Path, *options: str) -> None:
    for done in run_two(recipe, folder, *options):
        assert done.returncode == 0, done.stderr


def processes_of(parent: int) -> dict[str, int]:
    """The trainers that torchrun started, by rank."""
    found = {}
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        environment = dict(
            line.split("=", 1) for line in Path(f"/proc/{child}/environ").read_text().split("\0") if "=" in line
        )
        found[environment["RANK"]] = int(child)
    return found


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("task", "method"),
    [
        ("classification", "csg"),
        ("classification", "weight-l2"),
        ("classification", "gcisg"),
        ("classification", "asg-learned"),
        ("classification", "lp-ft+si+swad+frozen"),
        ("segmentation", "csg-dense"),
    ],
)
def test_two_processes_train_what_one_trains(task, method, recipe_dict, masked_recipe_dict, tmp_path):
    """Masks ignore some pixels, so the processes count different numbers of them."""
    base = recipe_dict if task == "classification" else masked_recipe_dict
    recipe = recipe_of(base, method, batch_size=4, steps=4, snapshots=2)
    train_two(recipe.as_dict(), tmp_path)
    run(recipe, tmp_path / "one")
    assert len(losses(tmp_path / "two")) == 4
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-6, abs=1e-6)
    for name in ("ckpt.pt", *(["average.pt"] if recipe.average else [])):
        alone, both = (load_checkpoint(tmp_path / folder / name) for folder in ("one", "two"))
        assert both.averaged == alone.averaged
        for part in ("model", "method", "average"):  # of csg: 7 (50) keys that 4 pictures (16 patches) a step go around
            ours, theirs = getattr(alone, part), getattr(both, part)
            assert ours.keys() == theirs.keys()
            for key, value in ours.items():
                torch.testing.assert_close(theirs[key], value, rtol=1e-5, atol=1e-5, equal_nan=True, msg=key)
    for step in (0, 2, 4):
        kept = [load_checkpoint(snapshot_folder(tmp_path / name, step) / "ckpt.pt").model for name in ("one", "two")]
        torch.testing.assert_close(*kept, rtol=1e-5, atol=1e-5)
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_a_killed_process_ends_the_others_and_the_restart_goes_on(recipe_dict, tmp_path):
    """The restarted run equals one that nobody disturbed, bit for bit."""
    recipe = recipe_of(recipe_dict, "csg", batch_size=4, steps=12, save_every=3).as_dict()
    (tmp_path / "whole").mkdir()
    train_two(recipe, tmp_path / "whole")
    process = torchrun(recipe, tmp_path)
    while not (tmp_path / "two" / "ckpt.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.kill(processes_of(process.pid)["1"], signal.SIGKILL)
    _, error = process.communicate(timeout=100)
    assert process.returncode != 0
    # torchrun ends the others too, at times before they have said why they end
    said = error.count("Error: another process of this run ended")
    assert said == 1 or "closing signal SIGTERM" in error or "Signal 15 (SIGTERM) received" in error, error
    assert 0 < load_checkpoint(tmp_path / "two" / "ckpt.pt").step < 12

    train_two(recipe, tmp_path, "--resume")
    assert [row["step"] for row in losses(tmp_path / "two")] == list(range(1, 13))
    parts, undisturbed = (load_checkpoint(folder / "two" / "ckpt.pt") for folder in (tmp_path, tmp_path / "whole"))
    for field in ("step", "model", "method", "optimizer", "rng", "log_bytes"):
        assert equal(getattr(parts, field), getattr(undisturbed, field)), field


def test_two_processes_choose_the_step_that_one_chooses(recipe_dict, tmp_path):
    """Each process measures all pictures; the scores rise and fall."""
    recipe_dict["data"]["validation"] = {"dataset": "holdout", "fraction": 0.5}
    recipe_dict["evaluate"] = {"select": "source-val", "select_every": 1}
    recipe = recipe_of(recipe_dict, "csg", batch_size=4, steps=8, lr_head=1.0, lr_backbone=0.03)
    train_two(recipe.as_dict(), tmp_path)
    alone, both = load_checkpoint(run(recipe, tmp_path / "one")), load_checkpoint(tmp_path / "two" / "best.pt")
    scores = [row["accuracy_validation"] for row in losses(tmp_path / "two")]
    assert scores == [row["accuracy_validation"] for row in losses(tmp_path / "one")]
    assert len(set(scores)) > 1
    assert both.step == alone.step == 1 + scores.index(max(scores))
    assert both.best_score == alone.best_score == max(scores)


def test_the_held_out_masks_of_one_process_may_all_be_ignored(masked_recipe_dict, masked_tree, tmp_path):
    shutil.copytree(masked_tree, tmp_path / "held-out")
    for number in range(2, 6):
        for file in (f"images/{number}.png", f"masks/{number}.png"):
            (tmp_path / "held-out" / file).unlink()
    ignored = tmp_path / "held-out" / "masks" / "1.png"
    Image.new("L", (40, 36), 255).save(ignored)
    recipe = recipe_of(masked_recipe_dict, "baseline", batch_size=4, steps=1).as_dict()
    recipe["data"]["validation"] = {"dataset": "masked-folder", "root": str(tmp_path / "held-out")}
    recipe["evaluate"] = recipe.get("evaluate", {}) | {"select": "source-val", "select_every": 1}
    run(Recipe.model_validate(recipe), tmp_path / "one")
    train_two(recipe, tmp_path)
    ((one,), (two,)) = (losses(tmp_path / folder) for folder in ("one", "two"))
    assert two["accuracy_validation"] == pytest.approx(one["accuracy_validation"], abs=1e-6)


def test_a_picture_that_one_process_cannot_measure_costs_no_step(recipe_dict, trees, tmp_path):
    """The other one had waited for its counts, and both had ended without saving."""
    shutil.copytree(trees / "target", tmp_path / "target")
    recipe_dict["data"]["target"]["root"] = str(tmp_path / "target")
    recipe_dict["evaluate"] = {"select": "oracle", "select_every": 2}
    recipe = recipe_of(recipe_dict, "baseline", batch_size=4, steps=4, save_every=100)
    run(recipe, tmp_path / "whole")
    broken = tmp_path / "target" / "car" / "1.png"  # the fifth picture: in the second batch of four
    good = broken.read_bytes()
    broken.write_bytes(good[:200] + bytes(500) + good[700:])
    first, second = run_two(recipe.as_dict(), tmp_path, before=look_at_one_picture_of_each_split)
    assert (first.returncode, second.returncode) == (2, 2)
    assert "Error" not in first.stderr
    assert_user_error(second, str(broken))
    assert load_checkpoint(tmp_path / "two" / "ckpt.pt").step == 2

    broken.write_bytes(good)
    train_two(recipe.as_dict(), tmp_path, "--resume")
    for one, two in zip(losses(tmp_path / "whole"), losses(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-6, abs=1e-6)


def test_a_first_batch_that_one_process_cannot_read_costs_no_old_run(recipe_dict, trees, tmp_path):
    """The other process had begun to replace it."""
    shutil.copytree(trees / "source", tmp_path / "source")
    recipe_dict["data"]["source"]["root"] = str(tmp_path / "source")
    recipe = recipe_of(recipe_dict, "baseline", batch_size=4, steps=2)
    train_two(recipe.as_dict(), tmp_path)
    kept = (tmp_path / "two" / "ckpt.pt").read_bytes()
    images = load_split(recipe.data, "source")
    broken = images.path(uniform_order(images, recipe.seed, 0)[3][1])  # of the second process
    broken.write_bytes(broken.read_bytes()[:200] + bytes(500))
    first, second = run_two(recipe.as_dict(), tmp_path, "--overwrite", before=look_at_one_picture_of_each_split)
    assert (first.returncode, second.returncode) == (2, 2)
    assert_user_error(second, str(broken))
    assert (tmp_path / "two" / "ckpt.pt").read_bytes() == kept


@pytest.fixture
def ended(monkeypatch):
    """A group of two in name alone; each time it is ended, whether another process was lost."""
    ends = []
    monkeypatch.setattr(distributed, "_over", False)
    monkeypatch.setattr(distributed, "_lost", False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: ends.append(distributed._lost))
    return ends


def test_an_error_of_one_process_waits_for_no_other(ended):
    """A full disk or a NaN of the first: NCCL's group waited for the others' next sum, and they for its own."""
    with pytest.raises(UserError, match="no space"), joined(torch.device("cpu")):
        raise UserError("ckpt.pt: no space")
    assert not ended


def test_with_a_lost_process_nothing_is_waited_for(ended, monkeypatch):
    """NCCL's group, which a GPU has, ends after all its work: what the lost one was to send never comes."""
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("closed by peer")))
    monkeypatch.setattr(distributed, "process_count", lambda: 2)
    with pytest.raises(UserError, match="another process of this run ended"), joined(torch.device("cpu")):
        highest(0)
    assert not ended
    distributed._over = distributed._lost = False
    with joined(torch.device("cpu")):
        pass
    assert ended == [False]


def signs_in(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    features, predicted = torch.tensor([rank == 1, False, True]), torch.tensor([[3, 3, -1], [3, 5, -1]][rank])
    rows = [{"ce": 1.0, "features": f, "predicted": p} for f, p in zip(features, predicted, strict=True)]
    share_signs([{"loss_validation": 0.5}, *rows] if rank == 0 else rows)
    dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps([[float(row[name]) for name in SIGNS] for row in rows]))


def test_signs_of_life_are_of_the_pictures_of_all_processes(tmp_path):
    """Of one picture to a process each step looked as if every picture were given one class: "the run has died"."""
    together(signs_in, (0, tmp_path), (1, tmp_path))
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [[1, 3], [0, -1], [1, -1]]


def test_a_batch_that_does_not_divide_is_refused_by_one_line(recipe_dict, tmp_path):
    first, second = run_two(recipe_of(recipe_dict, "baseline", batch_size=5).as_dict(), tmp_path)
    assert_user_error(first, "Error: train.batch_size: 5 pictures do not divide among 2 processes")
    assert (second.returncode, second.stderr) == (2, "")
    assert not (tmp_path / "two").exists()


class _DropPath(nn.Module):
    """By its name that of timm."""


_DropPath.__name__ = "DropPath"


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), StochasticDepth(0.1, "row"), _DropPath()])
def test_layers_that_drop_over_the_batch_are_refused(layer, recipe_dict, tmp_path, monkeypatch):
    """torchvision's ConvNeXt drops rows: two processes drew alike for their halves, and trained another network."""
    recipe_dict["model"] |= {"batch_norm": "train"}
    built = engine._Run(recipe_of(recipe_dict, "baseline", batch_size=4), tmp_path / "run", torch.device("cpu"))
    monkeypatch.setattr(engine, "process_count", lambda: 2)
    norms = [name for name, module in built.network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name in norms:
        built.network.set_submodule(name, nn.Identity())
    built.network.head.append(nn.Dropout(0))  # as a transformer's, which drop nothing
    built._require_shareable()
    built.network.head.append(layer)
    with pytest.raises(UserError, match="batch_norm: train: normalises or drops over the batch of one process"):
        built._require_shareable()


def _second_elsewhere() -> None:
    """As on a second machine, which does not see the first one's folder."""
    if os.environ["RANK"] == "1":
        os.chdir("second")


@pytest.mark.parametrize(
    ("fault", "what"),
    [("seed", "recipes"), ("picture", "pictures"), ("weights", "starting weights"), ("resume", "checkpoints")],
)
def test_processes_that_differ_are_refused_before_the_first_step(fault, what, recipe_dict, trees, tmp_path):
    """The gradients of two networks were averaged, and both ended as if nothing were wrong."""
    recipe_dict["data"]["source"]["root"] = "source"
    recipe = recipe_of(recipe_dict, "baseline", batch_size=4, steps=3, save_every=1).as_dict()
    for machine in (tmp_path, tmp_path / "second"):
        shutil.copytree(trees / "source", machine / "source")
        changed = recipe | ({"seed": 7} if fault == "seed" and machine != tmp_path else {})
        (machine / "tiny.yaml").write_text(yaml.safe_dump(changed))
    options = ["--resume"] if fault == "resume" else []
    if fault == "picture":
        (tmp_path / "second" / "source" / "car" / "0.png").unlink()
    if fault == "weights":
        for seed, machine in enumerate((tmp_path, tmp_path / "second")):
            torch.manual_seed(seed)
            torch.save(Narrow().state_dict(), machine / "start.pt")
        options = ["--weights", "start.pt"]
    if fault == "resume":
        train_two(recipe, tmp_path)
    first, second = run_two(recipe, tmp_path, *options, before=_second_elsewhere)
    assert_user_error(first, f"torchrun: the processes have different {what}", "an --out that all of them see")
    assert (second.returncode, second.stderr) == (2, "")


def end_it(pid: int) -> None:
    time.sleep(6)  # it waits for another
    os.kill(pid, signal.SIGTERM)


def test_a_process_that_waits_for_others_can_be_ended(recipe_file, tmp_path):
    """With variables of a job that was not started so: two hours in silence, whatever signal came."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    start = time.monotonic()
    result = command("csg-train", "run", recipe_file, "--device", "cpu", cwd=tmp_path, env=env, during=end_it)
    assert (result.returncode, result.stderr) == (-signal.SIGTERM, "")
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("rank", ["", "first"])
def test_a_rank_that_is_no_number_is_nobodys(rank, recipe_file, trees, tmp_path):
    """As LOCAL_RANK=$SLURM_LOCALID gives outside a step: a traceback."""
    env = {"WORLD_SIZE": "", "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": rank}
    result = command("csg-train", "run", recipe_file, "--set", "train.steps=1", "--out", "one", cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr


def test_a_group_that_somebody_else_made_is_refused(monkeypatch):
    """Its processes trained a run each, and averaged them."""
    monkeypatch.setattr(distributed, "process_count", lambda: 2)
    with pytest.raises(UserError, match="a group of 2 processes already"), joined(torch.device("cpu")):
        pass


@pytest.mark.parametrize("size", ["2", "two"])
def test_variables_that_torchrun_did_not_set(size, recipe_file, tmp_path):
    """As a scheduler or an earlier job leaves them: torch's traceback."""
    result = command("csg-train", "run", recipe_file, cwd=tmp_path, env={"WORLD_SIZE": size, "RANK": "0"})
    assert_user_error(result, f"WORLD_SIZE is {size}", "torchrun")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("csg-analyze", "features", "ckpt.pt"),
        ("csg-analyze", "gradcam", "ckpt.pt"),
        ("csg-train", "predict", "ckpt.pt"),
        ("csg-train", "data", "check", "tiny.yaml"),
        ("csg-train", "tensorboard", "runs"),
        ("csg-report", "build", "runs"),
    ],
)
def test_what_measures_runs_in_one_process(words, tmp_path):
    """Each of torchrun's processes measured everything, and one could not write the file that the other wrote."""
    result = command(*words, cwd=tmp_path, env={"WORLD_SIZE": "2", "RANK": "0"})
    assert_user_error(result, f"{words[-2]}: runs in one process", "without torchrun")
