"""A step of every method as a GPU does it, in tensors without values on a device that is not the CPU.

Fake tensors refuse what mixes devices, and what the host has to wait for before it knows a shape. The device is torch's
``lazy``, since autograd asks for a GPU of its own where tensors say that they are on one.
"""

import itertools
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from csg_train.data.loaders.loader import training_batches
from csg_train.engine import loop as engine
from csg_train.evaluate.either import held_out_loss
from csg_train.recipes.pictures import load_split
from tests.train.methods.test_methods import CPU, recipe_of, task_dict  # noqa: F401

DEVICE = torch.device("lazy")
CASES = {
    "classification": (
        *("oracle", "ibn-net", "ewc", "si", "weight-l2", "feature-l2", "miro", "gcisg", "asg-learned", "csg+asg"),
        "lp-ft+si+swad+frozen",
    ),
    "segmentation": ("domain-randomization", "csg-dense", "swad"),
}
WAITS = {"asg-learned": {"number": 12, "copy": 2}}
"""For what the host waits in a step: all that the policy asks for in a step in which it acts. A list of numbers is
fetched at once, and counted number by number."""
pytestmark = pytest.mark.skipif(torch.__version__ < "2.10", reason="torch before 2.10 has no fake tensors of lazy")
aten = torch.ops.aten
REFUSED = (aten.nll_loss2d_forward, aten._adaptive_avg_pool2d_backward, aten.upsample_bilinear2d_backward, aten.median)
"""Operations that torch refuses in a deterministic run on a GPU."""


class Watched(TorchDispatchMode):
    """Counts what the host waits for, and refuses what a GPU cannot repeat.

    Each number of the device is taken for 1, each condition for false.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        pixel_by_pixel = function is aten.nll_loss2d_forward.default and args[3] == 0  # without a sum
        assert pixel_by_pixel or function.overloadpacket not in REFUSED, function
        kwargs = kwargs or {}
        given = {tensor.device.type for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        if function is aten._local_scalar_dense.default:
            self.waits["number"] += DEVICE.type in given
            return {torch.bool: False}.get(args[0].dtype, 1.0 if args[0].is_floating_point() else 1)
        result = function(*args, **kwargs)
        if function.overloadpacket in (aten._to_copy, aten.copy_) and not kwargs.get("non_blocking"):
            self.waits["copy"] += len(given | {result.device.type}) > 1 and bool(result.numel())
        return result


def _moved(module: nn.Module, move, recurse=True) -> nn.Module:
    """What ``Module._apply`` does, of which torch has no form for fake tensors of this device."""
    for own in module.modules():
        for name, weight in own._parameters.items():
            if weight is not None:
                own._parameters[name] = nn.Parameter(move(weight.detach()), weight.requires_grad)
        own._buffers.update({name: move(value) for name, value in own._buffers.items() if value is not None})
    return module


def _copied(tensor: Tensor, memo: dict) -> Tensor:
    copy = tensor.detach().clone()
    return memo.setdefault(id(tensor), nn.Parameter(copy, tensor.requires_grad) if tensor.requires_grad else copy)


@pytest.fixture
def far(monkeypatch):
    """Makes a run on the device."""
    start, stack = engine.start_network, FakeTensorMode(allow_non_fake_inputs=True)

    def loaded(*given, **how):
        with _disable_current_modes():
            return start(*given, **how)

    monkeypatch.setattr(engine, "start_network", loaded)
    monkeypatch.setattr(nn.Module, "_apply", _moved)
    monkeypatch.setattr(Tensor, "__deepcopy__", _copied)
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", _copied)
    with torch.autograd.set_multithreading_enabled(False):
        yield stack


@pytest.fixture
def repeatable():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("repeatable")
@pytest.mark.parametrize(("task", "method"), [(task, method) for task, own in CASES.items() for method in own])
def test_nothing_mixes_devices_and_the_host_hardly_waits(task, method, task_dict, tmp_path, far, monkeypatch):  # noqa: F811
    recipe = recipe_of(task_dict, method, steps=5)
    if method == "asg-learned":  # the policy acts in every step
        recipe = recipe.model_copy(update={"method": recipe.method | {"window": 1}})
    batches = list(itertools.islice(engine._Run(recipe, tmp_path, CPU)._batches(), 2))
    monkeypatch.setattr(engine._Run, "_source_pass", lambda *_: (batch.to(DEVICE) for batch in batches))
    with far:
        ours = engine._Run(recipe, tmp_path, DEVICE)
        for batch in batches:
            there = batch.to(DEVICE)
            with Watched() as watched:
                ours._train_step(there)
            assert dict(+watched.waits) == WAITS.get(method, {})
        logged = [value for row in ours.unlogged for value in row.values() if isinstance(value, Tensor)]
        assert {value.device for value in logged} == {DEVICE}


@pytest.mark.usefixtures("repeatable")
@pytest.mark.parametrize("task", list(CASES))
def test_a_deterministic_run_measures_its_held_out_loss(task, task_dict, tmp_path, far):  # noqa: F811
    recipe = recipe_of(task_dict, "swad")
    with far:
        ours = engine._Run(recipe, tmp_path, DEVICE)
        with Watched():
            held_out_loss(ours.network.eval(), load_split(recipe.data, "validation"), recipe)


def test_views_that_a_device_makes(recipe_dict, far):
    images = load_split(recipe_of(recipe_dict, "baseline").data, "source")
    options = {"size": 32, "fit": "crop", "augment": "randaugment", "background": "plain"}
    choice = {"views": ("student", "teacher"), "batch_size": 4, "sampling": "uniform", "seed": 0, "options": options}
    (batch,) = training_batches(images, start=0, stop=1, workers=0, augment_on="device", **choice)
    with far, Watched() as watched:
        there = batch.to(DEVICE)
    assert {view.device for view in (*there.views, there.labels)} == {DEVICE}
    assert not +watched.waits
