"""Faster arithmetic: a compiled backbone trains the same, bfloat16 nearly the same."""

import functools

import pytest
import torch

from csg_train.runs.checkpoint import load_checkpoint
from tests.train.engine.test_distributed import losses
from tests.train.methods.test_methods import recipe_of, run


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own tracing; it hides it from users
@pytest.mark.parametrize(("task", "method"), [("classification", "csg"), ("segmentation", "csg-dense")])
def test_a_compiled_backbone_trains_the_same(task, method, recipe_dict, masked_recipe_dict, tmp_path, monkeypatch):
    """Traced forward and backward without code generation, which needs a compiler; stages are still read by hooks."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    base = recipe_dict if task == "classification" else masked_recipe_dict
    plain, compiled = (
        load_checkpoint(run(recipe_of(base, method, steps=3, compile=chosen), tmp_path / str(chosen)))
        for chosen in (False, True)
    )
    for one, two in zip(losses(tmp_path / "False"), losses(tmp_path / "True"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    assert compiled.model.keys() == plain.model.keys()


def test_bfloat16_is_near_float32_and_not_equal(recipe_dict, tmp_path):
    for precision in ("float32", "bfloat16"):
        path = run(recipe_of(recipe_dict, "csg", steps=2, precision=precision), tmp_path / precision)
    exact, lowered = (losses(tmp_path / precision)[0]["ce"] for precision in ("float32", "bfloat16"))
    assert lowered == pytest.approx(exact, rel=0.05)
    assert lowered != exact
    saved = load_checkpoint(path)
    assert {value.dtype for value in saved.model.values() if value.is_floating_point()} == {torch.float32}
