"""Where and how exactly things are computed: torch's switches, and that all that is measured is within them."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from csg_analysis.attention.gradcam import attend_batches, grad_cam
from csg_analysis.attention.measure import scored_pictures
from csg_analysis.energy import blocks
from csg_analysis.energy.energy import hyperspherical_energy
from csg_analysis.features.pooled import pooled_batches
from csg_train.devices import arithmetic, full_float32, usable_device
from csg_train.engine import loop as engine
from csg_train.engine import precision
from csg_train.errors import UserError
from csg_train.evaluate.either import held_out_loss, score
from csg_train.evaluate.segmentation import network_masks
from csg_train.evaluate.unlabelled import unlabelled_record
from csg_train.predictions.classes import predicted_classes
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from tests.train.methods.test_methods import CPU, recipe_of, run

pytestmark = pytest.mark.filterwarnings("ignore:Please use the new API")  # of torch 2.9, for the old switches

EXACT = {"products": "highest", "tf32": False, "benchmark": False, "deterministic": True}
ROUGH = {"products": "high", "tf32": True, "benchmark": True, "deterministic": False}


def switches() -> dict[str, object]:
    cudnn = torch.backends.cudnn
    found = {
        "products": torch.get_float32_matmul_precision(),
        "tf32": cudnn.allow_tf32,
        "benchmark": cudnn.benchmark,
        "deterministic": cudnn.deterministic,
    }
    if hasattr(cudnn, "conv"):  # torch 2.9 and later: both ways say the same
        new = {torch.backends.cuda.matmul.fp32_precision: found["products"] != "highest"}
        new |= {kind.fp32_precision: found["tf32"] for kind in (cudnn.conv, cudnn.rnn)}
        assert all((name == "tf32") == rough for name, rough in new.items()), new
    return found


def test_of_torchruns_processes_each_tries_its_own_card(monkeypatch):
    tried, zeros = [], torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: tried.append(str(device)) or zeros(*shape))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [str(usable_device(name)) for name in ("cuda", "cpu")] == ["cuda", "cpu"]
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert [str(usable_device(name)) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    monkeypatch.setenv("LOCAL_RANK", "4")  # more than there are, which `joined` says
    assert str(usable_device("cuda")) == "cuda"
    assert tried == ["cuda:0", "cpu", "cuda:2", "cuda:1", "cuda"]


def test_the_automatic_device_is_tried_too(monkeypatch):
    """A card that is seen and cannot be used was found out later, by a traceback."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    if torch.cuda.device_count():
        assert str(usable_device("auto")) == "cuda"
    else:
        with pytest.raises(UserError, match=r"--device cuda: not usable here \(.+\); --device cpu always is"):
            usable_device("auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert str(usable_device("auto")) == "cpu"


def test_a_device_that_cannot_measure_is_refused():
    with pytest.raises(UserError, match="--device meta: what is measured is summed in float64; give cpu or cuda"):
        usable_device("meta")


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has no such switches")
def test_a_processor_s_switches_are_put_back():
    """The older way of a GPU's products sets the processor's as well."""
    products, convolutions = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    before = products.fp32_precision, convolutions.fp32_precision
    try:
        products.fp32_precision = convolutions.fp32_precision = "bf16"
        with full_float32():
            assert (products.fp32_precision, convolutions.fp32_precision) == ("ieee", "ieee")
        assert (products.fp32_precision, convolutions.fp32_precision) == ("bf16", "bf16")
    finally:
        products.fp32_precision, convolutions.fp32_precision = before


def test_switches_are_set_and_put_back_after_an_error_too():
    before = switches()
    with arithmetic(tf32=True, benchmark=True):
        assert switches() == ROUGH
        with contextlib.suppress(ZeroDivisionError), full_float32():
            assert switches() == EXACT
            raise ZeroDivisionError
        assert switches() == ROUGH
    assert switches() == before


def test_threads_that_measure_leave_the_switches_as_they_were():
    """The last to end put back what the first had set: one core and no TF32 for the rest of the process."""
    rows = torch.randn(1200, 65, generator=torch.Generator().manual_seed(0)).split(200)
    with arithmetic(tf32=True, benchmark=True):
        before = switches(), torch.get_num_threads()
        with ThreadPoolExecutor(3) as pool:
            shared = list(pool.map(hyperspherical_energy, rows))
        assert (switches(), torch.get_num_threads()) == before
    assert shared == [hyperspherical_energy(own) for own in rows]


def test_one_thread_measures_at_a_time():
    """Or the first to end turned TF32 on for the other."""
    other = threading.Event()

    def measure() -> None:
        with full_float32():
            other.set()

    with full_float32():
        thread = threading.Thread(target=measure)
        thread.start()
        assert not other.wait(0.2)
        with full_float32():  # this thread's own, within
            pass
    thread.join(10)
    assert other.is_set()


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has no such switches")
def test_a_process_that_set_the_new_switches_alone():
    """Then torch refuses to read the old ones, which changes nothing here."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = products.fp32_precision, convolutions.fp32_precision, torch.backends.cudnn.allow_tf32
    try:
        products.fp32_precision = "tf32"
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            torch.get_float32_matmul_precision()
        with full_float32():
            assert switches() == EXACT
        assert products.fp32_precision == "tf32"
    finally:
        products.fp32_precision, convolutions.fp32_precision = before[:2]
    torch.get_float32_matmul_precision()
    assert torch.backends.cudnn.allow_tf32 == before[2]  # and it can be read again, as torch.export does


class Seen:
    """Remembers the switches at each forward pass of a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.found: list[dict[str, object]] = []
        module.register_forward_pre_hook(lambda _module, _inputs: self.found.append(switches()))


def classified(ours: engine._Run, seen: Seen) -> None:
    network, recipe, images = ours.network.eval(), ours.recipe, ours.images
    ways = {
        "accuracy": lambda: score(network, images, recipe),
        "loss": lambda: held_out_loss(network, images, recipe),
        "classes": lambda: exhaust(predicted_classes(network, images, recipe, top=2)),
        "features": lambda: exhaust(pooled_batches(network.backbone, images, recipe, layers=["layer4"])),
        "maps": lambda: grad_cam(network, torch.rand(2, 3, 32, 32), layer="layer4"),
        "attention": lambda: exhaust(attend_batches(network, images, recipe, layer="layer4", explain="predicted")),
        "curves": lambda: exhaust(scored_pictures(network, images, recipe, layer="layer4", explain="label", steps=2)),
    }
    assert_exact(ways, seen)


def segmented(ours: engine._Run, seen: Seen) -> None:
    network, recipe, images = ours.network.eval(), ours.recipe, ours.images
    assert_exact({"masks": lambda: exhaust(network_masks(network, images, recipe))}, seen)


def exhaust(generator) -> None:
    """To the end; whoever takes from it computes as before meanwhile."""
    for _ in generator:
        assert switches() == ROUGH


def assert_exact(ways, seen: Seen) -> None:
    with arithmetic(tf32=True, benchmark=True):
        for name, way in ways.items():
            seen.found.clear()
            way()
            assert seen.found, name
            assert all(found == EXACT for found in seen.found), name
            assert switches() == ROUGH


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_whatever_is_measured_is_computed_in_full_float32(task, recipe_dict, masked_recipe_dict, tmp_path):
    base = recipe_dict if task == "classification" else masked_recipe_dict
    ours = engine._Run(recipe_of(base, "baseline"), tmp_path, CPU)
    (classified if task == "classification" else segmented)(ours, Seen(ours.network.backbone))


def test_pixels_without_labels_too(masked_recipe_dict, tmp_path):
    path = run(recipe_of(masked_recipe_dict, "baseline", steps=1), tmp_path)
    checkpoint = load_checkpoint(path)
    network, ours = checkpoint.build_network(CPU), engine._Run(checkpoint.resolved_recipe(), tmp_path, CPU)
    seen = Seen(network)
    way = {"pixels": lambda: unlabelled_record(checkpoint, network, ours.images, split="target", recipe=ours.recipe)}
    assert_exact(way, seen)


def test_energies_too(monkeypatch):
    seen, original = [], blocks.Blocks.run
    monkeypatch.setattr(blocks.Blocks, "run", lambda *given: (seen.append(switches()), original(*given))[1])
    with arithmetic(tf32=True, benchmark=True):
        hyperspherical_energy(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
        assert switches() == ROUGH
    assert seen == [EXACT]


def steps_and_measures(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list, list]:
    """The switches during each training step, and during each forward pass of a measurement."""
    steps, measured = [], []
    step, prepare = engine._Run._train_step, engine._Run.__init__

    def train_step(self: engine._Run, batch: object) -> None:
        steps.append(switches())
        step(self, batch)

    def begin(self: engine._Run, *given: object) -> None:
        prepare(self, *given)

        def note(network: torch.nn.Module, _inputs: object) -> None:
            if not network.training:
                measured.append(switches())

        self.network.register_forward_pre_hook(note)

    monkeypatch.setattr(engine._Run, "_train_step", train_step)
    monkeypatch.setattr(engine._Run, "__init__", begin)
    run(recipe, out)
    return steps, measured


@pytest.mark.parametrize("wanted", ["float32", "tf32"])
def test_training_computes_as_the_recipe_says_and_its_selection_exactly(wanted, recipe_dict, tmp_path, monkeypatch):
    """Whatever the process had before; on a CPU, which only lacks the effect of the switches."""
    monkeypatch.setattr(precision, "_has_tf32", lambda _device: True)
    recipe = recipe_of(recipe_dict, "baseline", steps=2, precision=wanted)
    recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"select": "oracle"})})
    with arithmetic(tf32=wanted == "float32"):
        before = switches()
        steps, measured = steps_and_measures(recipe, tmp_path, monkeypatch)
        assert switches() == before
    expected = ROUGH if wanted == "tf32" else ROUGH | {"products": "highest", "tf32": False}
    assert steps == [expected] * 2
    assert measured
    assert all(found == EXACT for found in measured)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"precision": "tf32"}, r"train\.precision tf32: cpu has no TF32; use float32, or an NVIDIA GPU"),
        ({"compile": True, "cuda_graphs": True}, r"train\.cuda_graphs: cpu has none; set it false, or use a GPU"),
    ],
)
def test_what_a_cpu_has_not_is_refused(chosen, words, recipe_dict, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=words):
        run(recipe_of(recipe_dict, "baseline", **chosen), out)
    assert not out.exists()


def test_deterministic_changes_nothing_on_a_cpu(recipe_dict, tmp_path):
    """And leaves torch's own switch as it was."""
    ends = [
        load_checkpoint(run(recipe_of(recipe_dict, "csg", steps=2, deterministic=chosen), tmp_path / str(chosen)))
        for chosen in (False, True)
    ]
    assert all(torch.equal(value, ends[1].model[name]) for name, value in ends[0].model.items())
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_torch_cannot_repeat_is_one_line(recipe_dict, monkeypatch):
    """As on a GPU, from whose operations the error comes."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    train = recipe_of(recipe_dict, "baseline", deterministic=True).train

    def failing(error: Exception) -> None:
        with precision.training_arithmetic(train, torch.device("cuda")):
            assert torch.are_deterministic_algorithms_enabled()
            raise error

    with pytest.raises(
        UserError, match=r"train\.deterministic: not possible with this recipe \(x_cuda does not have a"
    ):
        failing(RuntimeError("x_cuda does not have a deterministic implementation, but you set\nmore"))
    with pytest.raises(UserError, match=r"this process has used the GPU without it; train in a new one, or set the"):
        failing(RuntimeError("Deterministic behavior was enabled ... you must set CUBLAS_WORKSPACE_CONFIG=:4096:8"))
    with pytest.raises(RuntimeError, match="memory"):
        failing(RuntimeError("out of memory"))
    assert not torch.are_deterministic_algorithms_enabled()
