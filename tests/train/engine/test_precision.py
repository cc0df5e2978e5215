"""Faster arithmetic: a compiled backbone trains the same, bfloat16 nearly the same."""

import copy
import functools
import gc
import weakref

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._inductor.exc import InvalidCxxCompiler

from csg_train.engine import loop as engine
from csg_train.engine.precision import InBfloat16, compile_fault
from csg_train.errors import UserError
from csg_train.runs.checkpoint import load_checkpoint
from tests.train.engine.test_distributed import losses
from tests.train.methods.test_methods import CPU, recipe_of, run

torch_compile = torch.compile


class GraphMemory:
    """Stands in for CUDA graphs: traced passes without generated code; what they gave is lost at the next step."""

    def __init__(self):
        self.given = []

    def backend(self, graph, inputs):
        return aot_autograd(fw_compiler=self._kept, bw_compiler=self._kept)(graph, inputs)

    def _kept(self, graph, _inputs):
        def passed(*inputs):
            outputs = graph(*inputs)
            own = {value.untyped_storage().data_ptr() for value in inputs if isinstance(value, torch.Tensor)}
            tensors = [value for value in outputs if isinstance(value, torch.Tensor) and value.is_floating_point()]
            self.given += [value for value in tensors if value.untyped_storage().data_ptr() not in own]
            return outputs

        return make_boxed_func(passed)

    def new_step(self):
        for value in self.given:
            value.detach().fill_(torch.nan)
        self.given.clear()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own tracing; it hides it from users
@pytest.mark.parametrize(("task", "method"), [("classification", "csg"), ("segmentation", "csg-dense")])
def test_a_compiled_backbone_trains_the_same(task, method, recipe_dict, masked_recipe_dict, tmp_path, monkeypatch):
    """Stages are still read by hooks, and nothing of a step is read in the next, when graphs write over it."""
    memory = GraphMemory()
    monkeypatch.setattr(torch, "compile", lambda forward, **_: torch_compile(forward, backend=memory.backend))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", memory.new_step)
    monkeypatch.setattr(engine, "require_arithmetic", lambda *_: None)  # of a CPU
    base = recipe_dict if task == "classification" else masked_recipe_dict
    plain, compiled = (
        load_checkpoint(
            run(recipe_of(base, method, steps=3, compile=chosen, cuda_graphs=chosen), tmp_path / str(chosen))
        )
        for chosen in (False, True)
    )
    assert memory.given
    for one, two in zip(losses(tmp_path / "False"), losses(tmp_path / "True"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    assert compiled.model.keys() == plain.model.keys()


def test_a_machine_without_a_compiler_is_one_line(recipe_dict, tmp_path, monkeypatch):
    def compiled(_run, _batch):
        raise InvalidCxxCompiler

    monkeypatch.setattr(engine._Run, "_train_step", compiled)
    with pytest.raises(UserError, match=r"train.compile: torch cannot compile here \(No working C\+\+ compiler"):
        run(recipe_of(recipe_dict, "baseline"), tmp_path)
    assert compile_fault(RuntimeError("another")) is None


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_every_block_is_compiled_for_each_of_its_uses(recipe_dict, tmp_path, monkeypatch):
    """Of four blocks: the student's with and without gradients and the teacher's, more than torch's limit of 8.

    Each for its own sizes, none for any: a run that goes on in the middle compiles what the whole one did. What is
    measured along the run is not compiled, as it is not afterwards, and nothing outlives the run.
    """
    sizes = []

    def count(graph, inputs):
        sizes.append([size for value in inputs if isinstance(value, torch.Tensor) for size in value.shape])
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=count))
    forget, reset = torch._dynamo.reset, []
    forget()
    monkeypatch.setattr(torch._dynamo, "reset", lambda: (reset.append(len(sizes)), forget()))
    with torch._dynamo.config.patch(recompile_limit=8):
        measured = recipe_dict | {"evaluate": {"select": "oracle", "select_every": 1}}
        run(recipe_of(measured, "csg", steps=2, compile=True), tmp_path)
    assert len(sizes) == 12
    assert {type(size) for own in sizes for size in own} == {int}
    assert reset == [12]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_the_statistics_of_an_average_are_counted_uncompiled(recipe_dict, tmp_path, monkeypatch):
    """Every BatchNorm that counts them broke the graph of its block, which was compiled in pieces at the run's end."""
    graphs = []
    keep = lambda graph, _inputs: graphs.append(graph) or graph.forward  # noqa: E731
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=keep))
    recipe_dict["model"]["batch_norm"] = "train"
    numbers = []
    for number, average in enumerate(({}, {"average": {"rule": "ema", "decay": 0.5}})):
        torch._dynamo.reset()
        graphs.clear()
        run(recipe_of(recipe_dict | average, "baseline", steps=2, compile=True), tmp_path / str(number))
        numbers.append(len(graphs))
    assert numbers[0] == numbers[1] == 4


def test_within_its_block_a_network_computes_in_bfloat16_and_gives_float32(recipe_dict, tmp_path):
    """The numbers of autocast around each call, block after block, and outside float32 as before."""
    network = engine._Run(recipe_of(recipe_dict, "baseline"), tmp_path, CPU).network
    pictures = torch.rand(2, 3, 32, 32)
    plain = copy.deepcopy(network)
    lowered = InBfloat16([network.backbone, network.head], CPU)
    forward = network.backbone.forward
    for _ in range(2):
        with lowered:
            inside = network(pictures)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = plain.backbone(pictures)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = plain.head(maps.stages["layer4"].float().mean(dim=(2, 3)))
        assert logits.dtype == torch.bfloat16
        assert torch.equal(inside.logits, logits.float())
        for name, stage in maps.stages.items():
            assert torch.equal(inside.stages[name], stage.float())
        assert torch.equal(inside.imagenet_logits, maps.imagenet_logits.float())
        assert torch.equal(network(pictures).logits, plain(pictures).logits)
    assert network.backbone.forward is forward  # replaced once, not in every step
    with pytest.raises(ZeroDivisionError), lowered:
        raise ZeroDivisionError
    assert torch.equal(network(pictures).logits, plain(pictures).logits)


def test_passes_without_gradients_alone_are_lowered(recipe_dict, tmp_path):
    network = engine._Run(recipe_of(recipe_dict, "baseline"), tmp_path, CPU).network
    pictures = torch.rand(2, 3, 32, 32)
    expected = {True: network(pictures).logits}
    twin = copy.deepcopy(network)
    with torch.no_grad(), InBfloat16([twin.backbone, twin.head], CPU):
        expected[False] = twin(pictures).logits
    assert not torch.equal(*expected.values())
    lowered = InBfloat16([network.backbone, network.head], CPU, gradients=False)
    for gradients, logits in expected.items():
        with lowered, torch.set_grad_enabled(gradients):
            assert torch.equal(network(pictures).logits, logits)


def test_keys_in_bfloat16_leave_the_task_as_it_was(recipe_dict, tmp_path):
    """Until the first step moved the weights; InfoNCE has other keys from the start."""
    for precision in ("same", "bfloat16"):
        run(recipe_of(recipe_dict, "csg", steps=1, no_grad_precision=precision), tmp_path / precision)
    (exact,), (lowered,) = (losses(tmp_path / precision) for precision in ("same", "bfloat16"))
    assert lowered["ce"] == exact["ce"]
    for name in ("nce_layer3", "nce_layer4"):
        assert lowered[name] != exact[name]
        assert lowered[name] == pytest.approx(exact[name], rel=0.05)


def test_a_lowered_network_goes_when_nobody_holds_it(recipe_dict, tmp_path):
    """At once: in a sweep each run's weights had stayed on the card until the next collection of cycles."""
    network = engine._Run(recipe_of(recipe_dict, "baseline"), tmp_path, CPU).network
    InBfloat16([network.backbone, network.head], CPU)
    gone = weakref.ref(network.head)
    gc.disable()
    try:
        del network
        assert gone() is None
    finally:
        gc.enable()


def test_bfloat16_is_near_float32_and_not_equal(recipe_dict, tmp_path):
    for precision in ("float32", "bfloat16"):
        path = run(recipe_of(recipe_dict, "csg", steps=2, precision=precision), tmp_path / precision)
    exact, lowered = (losses(tmp_path / precision)[0]["ce"] for precision in ("float32", "bfloat16"))
    assert lowered == pytest.approx(exact, rel=0.05)
    assert lowered != exact
    saved = load_checkpoint(path)
    assert {value.dtype for value in saved.model.values() if value.is_floating_point()} == {torch.float32}
