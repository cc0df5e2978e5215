"""Training on a GPU: every method against the CPU, exact resume, lower precision, memory, interrupts, NCCL."""

import functools
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import yaml

from csg_train import distributed
from csg_train.data.loaders.loader import training_batches
from csg_train.engine import loop as engine
from csg_train.engine.caffe_sgd import CaffeSGD
from csg_train.recipes.pictures import load_split
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from tests.cuda.card import CARD, ON_CARD, train
from tests.nested import equal
from tests.train.engine.test_distributed import losses
from tests.train.methods.cases import TASK_CASES
from tests.train.methods.test_methods import recipe_of, run, task_dict  # noqa: F401

pytestmark = pytest.mark.cuda
only_on_card = pytest.mark.skipif(not ON_CARD, reason="CUDA_TESTS_ON: not of a CPU")
SAVED = ("step", "model", "method", "optimizer", "rng", "log_bytes")


def stop_after(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> int:
    """Send a signal in the middle of a step; the exit code."""
    original = engine._Run._train_step

    def interrupted(self: engine._Run, batch: object) -> None:
        if self.step == step - 1:
            os.kill(os.getpid(), number)
        original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(engine._Run, "_train_step", interrupted)
        with pytest.raises(SystemExit) as left:
            train(recipe, out)
    return left.value.code


@pytest.mark.parametrize(("task", "method"), TASK_CASES)
def test_three_steps_are_those_of_a_cpu(task, method, task_dict, tmp_path):  # noqa: F811
    """Every term of the loss: float32 here as there, which TF32 is not."""
    recipe = recipe_of(task_dict, method, steps=3)
    train(recipe, tmp_path / "card")
    run(recipe, tmp_path / "cpu")
    for ours, theirs in zip(losses(tmp_path / "card"), losses(tmp_path / "cpu"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_training_on_one_card_draws_and_keeps_nothing_of_another(recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, "baseline", steps=2)
    other = torch.cuda.get_rng_state(0)
    for resume in (False, True):
        path = engine.train(recipe, tmp_path / "run", device="cuda:1", resume=resume)
        assert torch.equal(torch.cuda.get_rng_state(0), other)
    assert len(load_checkpoint(path).rng) == 2


@pytest.mark.parametrize(("task", "method"), TASK_CASES)
def test_resume_equals_uninterrupted_where_the_recipe_is_deterministic(
    task,
    method,
    task_dict,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    recipe = recipe_of(task_dict, method, deterministic=True)
    whole = train(recipe, tmp_path / "whole")
    assert stop_after(recipe, tmp_path / "parts", monkeypatch, 3, signal.SIGTERM) == 143
    assert load_checkpoint(tmp_path / "parts/ckpt.pt").step == 3
    parts = train(recipe, tmp_path / "parts", resume=True)
    for name in SAVED:
        assert equal(getattr(parts, name), getattr(whole, name)), name


def test_an_interrupted_run_goes_on_without_that_setting(recipe_dict, tmp_path, monkeypatch):
    """To numbers that rounding alone separates: of some layers cuDNN may have chosen another algorithm."""
    recipe = recipe_of(recipe_dict, "csg")
    whole = train(recipe, tmp_path / "whole")
    assert stop_after(recipe, tmp_path / "parts", monkeypatch, 2, signal.SIGINT) == 130
    parts = train(recipe, tmp_path / "parts", resume=True)
    for name, value in whole.model.items():
        torch.testing.assert_close(parts.model[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("method", ["baseline", "csg", "csg+asg"])
@pytest.mark.parametrize("lower", [{"precision": "bfloat16"}, {"precision": "tf32"}, {"no_grad_precision": "bfloat16"}])
def test_lower_precision_is_near_float32(lower, method, recipe_dict, tmp_path):
    if lower == {"precision": "tf32"} and not ON_CARD:
        pytest.skip("CUDA_TESTS_ON: not of a CPU")
    for name, chosen in (("float32", {}), ("lower", lower)):
        saved = train(recipe_of(recipe_dict, method, steps=3, **chosen), tmp_path / name)
    for ours, exact in zip(losses(tmp_path / "lower"), losses(tmp_path / "float32"), strict=True):
        assert ours == pytest.approx(exact, rel=0.05, abs=0.01)
    assert {value.dtype for value in saved.model.values() if value.is_floating_point()} == {torch.float32}


@only_on_card
@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_backbone_is_near_an_eager_one(precision, graphs, recipe_dict, tmp_path):
    rates = {"lr_head": 0.001, "lr_backbone": 0.0001}  # a tenth: steps magnify what fused kernels round
    for compiled in (False, True):
        chosen = rates | {"compile": compiled, "cuda_graphs": compiled and graphs, "precision": precision}
        recipe = recipe_of(recipe_dict, "csg", steps=3 + 3 * graphs, **chosen)  # captured at the third use
        train(recipe, tmp_path / str(compiled))
    tolerance = {"float32": 1e-3, "bfloat16": 0.05}[precision]
    for ours, eager in zip(losses(tmp_path / "True"), losses(tmp_path / "False"), strict=True):
        assert ours == pytest.approx(eager, rel=tolerance, abs=tolerance / 10)


@only_on_card
@pytest.mark.parametrize(("task", "method"), TASK_CASES)
def test_a_step_gives_its_memory_back(task, method, task_dict, tmp_path):  # noqa: F811
    gc.collect()  # what interrupted runs of other tests left in cycles goes now, not between two steps
    ours = engine._Run(recipe_of(task_dict, method, steps=8, log_every=100), tmp_path, CARD)
    held = []
    for batch in ours._batches():
        ours._train_step(batch.to(CARD))
        ours.unlogged.clear()
        del batch
        held.append(torch.cuda.memory_allocated())
    assert len(set(held[3:])) == 1, held  # momentum and first keys are there after the first steps


@only_on_card
def test_batches_wait_in_pinned_memory_and_arrive_whole(recipe_dict):
    """Copied while the GPU computes, with the layout that channels last has."""
    recipe = recipe_of(recipe_dict, "baseline")
    images = load_split(recipe.data, "source")
    torch.zeros(1, device=CARD)  # as a network would be there
    options = {"size": 32, "fit": "crop", "augment": "none", "background": None}
    make = functools.partial(training_batches, images, views=("student",), batch_size=4, sampling="uniform", seed=0)
    for workers in (0, 2):
        for batch in make(start=0, stop=3, workers=workers, options=options):
            assert batch.views[0].is_pinned()
            assert batch.labels.is_pinned()
            there = batch.to(CARD)
            assert there.views[0].is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(there.views[0].cpu(), batch.views[0])
            assert torch.equal(there.labels.cpu(), batch.labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_views_made_on_the_card_are_those_of_a_cpu(workers, recipe_dict):
    images = load_split(recipe_of(recipe_dict, "baseline").data, "source")
    options = {"size": 32, "fit": "crop", "augment": "randaugment", "background": "plain"}
    choice = {"views": ("student", "teacher"), "batch_size": 4, "sampling": "uniform", "seed": 0, "options": options}
    torch.zeros(1, device=CARD)
    for batch in training_batches(images, start=0, stop=9, workers=workers, augment_on="device", **choice):
        there, here = batch.to(CARD), batch.to(torch.device("cpu"))
        for ours, theirs in zip(there.views, here.views, strict=True):
            assert ours.is_contiguous(memory_format=torch.channels_last)
            assert (ours.cpu().int() - theirs.int()).abs().max() <= 1
        assert torch.equal(there.labels.cpu(), here.labels)


def test_a_run_sizes_its_loader_processes_and_says_how_busy_the_card_was(recipe_dict, tmp_path, capsys):
    train(recipe_of(recipe_dict, "baseline", steps=8, workers="auto"), tmp_path / "auto")
    said = capsys.readouterr().out
    assert ("loader processes: " in said) == ON_CARD
    assert ("GPU busy: " in said) == ON_CARD


def test_a_group_at_once_is_a_loop_over_its_weights_to_rounding():
    generator = torch.Generator().manual_seed(0)
    shapes = [(64,), (33, 5), (16, 8, 3, 3)] * 20
    starts = [torch.randn(shape, generator=generator) for shape in shapes]
    pulls = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(4)]
    ends = []
    for device in (torch.device("cpu"), CARD):
        weights = [torch.nn.Parameter(start.to(device, copy=True)) for start in starts]
        optimizer = CaffeSGD(weights, lr=0.1, momentum=0.9, weight_decay=5e-4)
        for step in pulls:
            for weight, pull in zip(weights, step, strict=True):
                weight.grad = pull.to(device, copy=True)  # the optimiser changes it
            optimizer.step()
        ends.append([weight.detach().cpu() for weight in weights])
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-5, atol=1e-6)


def test_a_trace_of_steps(recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, "csg", steps=7)
    engine.train(recipe, tmp_path, device=CARD, profile=2)
    events = json.loads((tmp_path / "profile.json").read_text())["traceEvents"]
    assert any(event.get("cat") == ("kernel" if ON_CARD else "cpu_op") for event in events)


class _OneOfMany(int):
    """A count of processes that says it is not one, so that the collective operations are done."""

    __hash__ = int.__hash__

    def __eq__(self, _other: object) -> bool:
        return False


def test_the_collective_operations_of_a_group_of_one(recipe_dict, tmp_path, monkeypatch):
    """NCCL for what is on the card, gloo for what is not: the numbers of a run without a group."""
    recipe = recipe_of(recipe_dict, "csg", steps=3, deterministic=True)
    alone = train(recipe, tmp_path / "alone")
    backend = "cpu:gloo,cuda:nccl" if ON_CARD else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    reduced, original = [], dist.all_reduce
    try:
        monkeypatch.setattr(distributed, "process_count", lambda: _OneOfMany(1))
        monkeypatch.setattr(
            dist, "all_reduce", lambda tensor, **how: (reduced.append(tensor.device.type), original(tensor, **how))
        )
        group = train(recipe, tmp_path / "group")
    finally:
        dist.destroy_process_group()
    assert set(reduced) == {"cpu", CARD.type}
    for name in ("model", "method", "optimizer"):
        assert equal(getattr(group, name), getattr(alone, name)), name


def test_torchrun_on_one_card(recipe_dict, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe_of(recipe_dict, "csg", steps=3).as_dict()))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    ours = ["-m", "tests.narrow", "run", "tiny.yaml", "--device", CARD.type, "--out", "run"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{Path(__file__).parents[2]}:{':'.join(sys.path)}"}
    done = subprocess.run([*torchrun, *ours], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(tmp_path / "run/ckpt.pt").step == 3
