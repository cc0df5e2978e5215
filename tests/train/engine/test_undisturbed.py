"""A notebook sets torch as it likes: its training is that of a new process, and what it draws afterwards its own."""

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch

from csg_analysis import alignment, effective_rank, hyperspherical_energy, sampled_energy, uniformity
from csg_train import CSGLoss, load_network
from csg_train.engine.loop import train
from csg_train.engine.precision import InBfloat16
from csg_train.engine.undisturbed import undisturbed
from csg_train.errors import UserError
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.seeds import seeded
from tests.narrow import Narrow
from tests.nested import equal
from tests.train.methods.test_methods import recipe_of


@contextlib.contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SET = {
    "float64 by default": double,
    "another device by default": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.fixture
def recipe(recipe_dict):
    return recipe_of(recipe_dict, "csg", steps=2)


@pytest.mark.parametrize("name", SET)
def test_what_the_process_has_set_changes_no_training(name, recipe, tmp_path):
    undisturbed = load_checkpoint(train(recipe, tmp_path / "a", device="cpu"))
    with SET[name]():
        other = train(recipe, tmp_path / "b", device="cpu")
    for part in ("model", "method", "optimizer", "rng"):
        assert equal(getattr(load_checkpoint(other), part), getattr(undisturbed, part)), part


class Shallow(torch.nn.Sequential):
    """With an autocast of its own, as a user's backbone may have one."""

    def forward(self, rows_ND: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(rows_ND).float()


@pytest.mark.parametrize("kind", [torch.nn.Sequential, Shallow])
@pytest.mark.parametrize("name", [*SET, "nothing"])
def test_each_step_in_bfloat16_computes_with_the_weights_of_the_last(kind, name):
    """Torch keeps its casts up to the end of the outermost autocast: each step had the weights of the first."""

    def losses() -> list[float]:
        with seeded(0):
            network = kind(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
            rows, labels = torch.randn(64, 16), torch.randint(4, (64,))
        lowered = InBfloat16([network], torch.device("cpu"))
        optimizer, found = torch.optim.SGD(network.parameters(), lr=0.5), []
        for _ in range(4):
            with lowered:
                loss = torch.nn.functional.cross_entropy(network(rows), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    expected = losses()
    assert expected == sorted(expected, reverse=True)
    with SET.get(name, contextlib.nullcontext)(), undisturbed(torch.device("cpu")):
        assert losses() == expected


@pytest.mark.parametrize(
    ("given", "splits", "message"),
    [
        ("tiny.yaml", ["target"], "train: a recipe in a str; give what load_recipe reads"),
        (None, "target", "train: splits='target'; give a list of source, validation, target"),
        (None, ["targets"], r"train: splits=\['targets'\]; give a list of source"),
    ],
)
def test_arguments_that_are_no_recipe_and_no_splits_are_refused(given, splits, message, recipe, tmp_path):
    with pytest.raises(UserError, match=message):
        train(given or recipe, tmp_path / "run", device="cpu", splits=splits)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_continued_and_removed_at_once(recipe, tmp_path):
    """It was removed."""
    train(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(UserError, match="the one continues the run that the other removes"):
        train(recipe, tmp_path / "run", device="cpu", resume=True, overwrite=True)
    assert load_checkpoint(tmp_path / "run" / "ckpt.pt").step == 2


def test_a_training_seeds_no_other_device(recipe, tmp_path, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    for resume in (False, True):
        train(recipe, tmp_path / "run", device="cpu", resume=resume)
    assert not seeded


def test_a_training_leaves_torch_s_generator_as_it_was(recipe, tmp_path):
    """A loop over seeds of one's own drew the same numbers after each training."""
    torch.manual_seed(11)
    expected = torch.rand(3)
    for resume in (False, True):
        torch.manual_seed(11)
        train(recipe, tmp_path / "run", device="cpu", resume=resume)
        assert torch.equal(torch.rand(3), expected)


def test_a_second_training_in_the_process_is_refused(recipe, tmp_path):
    """Their heads were drawn from one generator."""
    refused = []

    def start(_step: int, _values: dict[str, float]) -> None:
        def other() -> None:
            with pytest.raises(UserError, match="another training runs in this process") as caught:
                train(recipe, tmp_path / "other", device="cpu")
            refused.append(caught.value)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    train(recipe, tmp_path / "run", device="cpu", report=start)
    assert refused
    assert not (tmp_path / "other").exists()
    train(recipe, tmp_path / "other", device="cpu")


@pytest.mark.parametrize("name", ["float64 by default", "another device by default", "autocast"])
def test_measures_networks_and_losses_are_what_they_are_elsewhere(name, recipe, tmp_path):
    rows = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    path = train(recipe, tmp_path / "run", device="cpu")
    network, teacher = load_network(path, device="cpu"), Narrow()
    usual = hyperspherical_energy(rows), sampled_energy(rows, pairs=60, seed=0), CSGLoss(teacher, {"layer4": 64})
    with SET[name]():
        again = hyperspherical_energy(rows), sampled_energy(rows, pairs=60, seed=0), CSGLoss(teacher, {"layer4": 64})
        assert equal(load_network(path, device="cpu").state_dict(), network.state_dict())
        metrics = alignment(rows, [0, 1] * 10), uniformity(rows), effective_rank(rows)
    assert metrics == (alignment(rows, [0, 1] * 10), uniformity(rows), effective_rank(rows))
    assert again[:2] == usual[:2]
    assert equal(again[2].state_dict(), usual[2].state_dict())
