"""The official code's SGD against a loop by hand in float64, and against torch's where both must agree."""

import numpy as np
import pytest
import torch
from torch import optim

from csg_train.engine import loop as engine
from csg_train.engine.caffe_sgd import CaffeSGD
from csg_train.engine.optimizer import build_optimizer
from tests.nested import equal
from tests.train.methods.test_methods import CPU, recipe_of

RATES = [0.01, 0.4, 0.3, 0.02, 0.5, 0.001]


def descend(kind: type, rates: list[float], *, restart_at: int | None = None) -> torch.Tensor:
    """Steps on f(w) = sum c w^2 / 2 at given rates; a restart goes through a state dict."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    curvature = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    optimizer = kind([weight], lr=1.0, momentum=0.9, weight_decay=0.05)
    for step, rate in enumerate(rates):
        if step == restart_at:
            state = optimizer.state_dict()
            optimizer = kind([weight], lr=1.0, momentum=0.9, weight_decay=0.05)
            optimizer.load_state_dict(state)
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad = curvature * weight.detach()
        optimizer.step()
    return weight.detach()


def test_a_changing_rate_keeps_each_gradients_own():
    w, v = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    for rate in RATES:
        v = 0.9 * v + rate * (np.array([0.5, 1.0, 2.0]) * w + 0.05 * w)
        w = w - v
    np.testing.assert_allclose(descend(CaffeSGD, RATES).numpy(), w, rtol=1e-13)
    assert not np.allclose(descend(optim.SGD, RATES).numpy(), w, rtol=1e-2)


def test_two_steps_by_hand():
    """w = 1, g = w, m = 0.5, rates 0.1 and 0.2: v = 0.1, w = 0.9; v = 0.05 + 0.18, w = 0.67."""
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    idle = torch.nn.Parameter(torch.ones(1))
    optimizer = CaffeSGD([weight, idle], lr=0.1, momentum=0.5, weight_decay=0.0)
    for rate, expected in ((0.1, 0.9), (0.2, 0.67)):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = weight.detach().clone()
        optimizer.step()
        assert weight.item() == pytest.approx(expected, rel=1e-12)
    assert idle.item() == 1  # no gradient, no decay


def test_a_constant_rate_is_torchs_sgd():
    torch.testing.assert_close(descend(CaffeSGD, [0.1] * 20), descend(optim.SGD, [0.1] * 20), rtol=1e-13, atol=0)


def test_a_group_at_once_is_a_loop_over_its_weights_bit_for_bit():
    """In float32, of many shapes and layouts, some without a gradient now and then."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        value = torch.randn(*shape, generator=generator)
        return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

    shapes = [(1,), (7,), (33, 5), (4, 3, 3, 3), (8, 4, 1, 1), (2, 2, 5, 5)]
    ours = [torch.nn.Parameter(draw(*shape)) for shape in shapes]
    loops = [weight.detach().clone() for weight in ours]
    buffers = [torch.zeros_like(weight) for weight in loops]
    groups = [{"params": ours[:2], "weight_decay": 0.0}, {"params": ours[2:]}]
    optimizer = CaffeSGD(groups, lr=1.0, momentum=0.9, weight_decay=5e-4)
    for step, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate / 3
        for index, (weight, loop, buffer) in enumerate(zip(ours, loops, buffers, strict=True)):
            weight.grad = None if (index + step) % 4 == 3 else draw(*weight.shape)
            if weight.grad is not None:
                decayed = weight.grad.add(loop, alpha=0.0 if index < 2 else 5e-4)
                loop -= buffer.mul_(0.9).add_(decayed, alpha=rate / 3)
        optimizer.step()
        assert all(torch.equal(weight, loop) for weight, loop in zip(ours, loops, strict=True))


@pytest.mark.parametrize("restart_at", [0, 1, 4])
def test_the_state_dict_holds_all_that_a_restart_needs(restart_at):
    assert torch.equal(descend(CaffeSGD, RATES, restart_at=restart_at), descend(CaffeSGD, RATES))


@pytest.mark.parametrize(
    ("method", "field", "kind"), [("baseline", "sgd", CaffeSGD), ("csg", "optimizer", optim.AdamW)]
)
def test_the_recipe_chooses_and_resumes(method, field, kind, recipe_dict, tmp_path, monkeypatch):
    recipe = recipe_of(recipe_dict, method, **{field: "caffe" if field == "sgd" else "adamw"})
    run = engine._Run(recipe, tmp_path, CPU)
    assert isinstance(run.optimizer, kind)
    plain = build_optimizer(run.network, run.method, recipe_of(recipe_dict, method).train)
    assert type(plain) is optim.SGD
    assert [group["name"] for group in plain.param_groups] == [group["name"] for group in run.optimizer.param_groups]

    original = engine._Run._train_step

    def die(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        original(self, batch)

    def train(name, *, resume):
        out = tmp_path / name
        path = engine.train(recipe, out, device=CPU, resume=resume, overwrite=False, report=lambda step, values: None)
        return engine.load_checkpoint(path)

    whole = train("whole", resume=False)
    monkeypatch.setattr(engine._Run, "_train_step", die)
    with pytest.raises(KeyboardInterrupt):
        train("parts", resume=False)
    monkeypatch.setattr(engine._Run, "_train_step", original)
    parts = train("parts", resume=True)
    assert equal(parts.model, whole.model)
    assert equal(parts.optimizer, whole.optimizer)
