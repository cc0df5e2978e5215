"""What runs of earlier versions saved: recipes without the fields that came later, which trained as those did."""

from pathlib import Path

import pytest
import torch
import yaml

from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.sections import Recipe
from csg_train.recipes.sweep import load_sweep
from csg_train.runs.checkpoint import load_checkpoint
from tests.nested import equal
from tests.train.methods.test_methods import recipe_of, run

REPORTS = Path(__file__).parents[3] / "reports"
METHODS = ["weight-l2", "ewc", "si"]


def without_later_fields(recipe: dict) -> dict:
    """A recipe as version 0.1.0 resolved it."""
    method = {key: value for key, value in recipe["method"].items() if key not in ("update", "spread")}
    train = {key: value for key, value in recipe["train"].items() if key != "decay_until"}
    return recipe | {"method": method, "train": train}


def stop_an_earlier_run(recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
    """Train to a step, then take from the folder what an earlier version did not write."""
    original = engine._Run._train_step

    def die(self: engine._Run, batch: object) -> None:
        if self.step == at:
            raise KeyboardInterrupt
        original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(engine._Run, "_train_step", die)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, out)
    content = torch.load(out / "ckpt.pt", weights_only=True)
    recipe_then = without_later_fields(content["recipe"])
    assert "update" in content["recipe"]["method"]
    torch.save(content | {"recipe": recipe_then}, out / "ckpt.pt")
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe_then))


@pytest.mark.parametrize("method", METHODS)
def test_a_penalty_without_its_form_was_a_gradient_and_resumes_bit_for_bit(method, recipe_dict, tmp_path, monkeypatch):
    recipe = recipe_of(recipe_dict, f"{method}-gradient")
    whole = load_checkpoint(run(recipe, tmp_path / "whole"))
    parts = tmp_path / "parts"
    stop_an_earlier_run(recipe, parts, monkeypatch, at=3)
    assert load_checkpoint(parts / "ckpt.pt").resolved_recipe() == recipe
    other = r"method\.spread \(false there, true here\); " if method == "ewc" else ""
    differs = rf"its recipe differs from this run's in {other}method\.update \('gradient' there"
    with pytest.raises(UserError, match=differs):
        run(recipe_of(recipe_dict, method), parts, resume=True)
    resumed = load_checkpoint(run(load_recipe(str(parts / "recipe.yaml")), parts, resume=True))
    for name in ("recipe", "model", "method", "optimizer", "rng"):
        assert equal(getattr(resumed, name), getattr(whole, name)), name


def test_an_override_chooses_the_form_of_a_saved_recipe(recipe_dict, tmp_path, monkeypatch):
    stop_an_earlier_run(recipe_of(recipe_dict, "si-gradient"), tmp_path / "run", monkeypatch, at=3)
    saved = load_checkpoint(tmp_path / "run" / "ckpt.pt")
    assert saved.resolved_recipe(("method.update=proximal",)).method["update"] == "proximal"
    assert saved.resolved_recipe(("method.name=ewc",)).method["update"] == "proximal"
    assert "update" not in saved.recipe["method"]


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_that_somebody_writes_has_the_default(method, recipe_dict, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_dict | {"method": {"name": method}}))
    assert load_recipe(str(path)).method["update"] == "proximal"
    (tmp_path / "log.jsonl").touch()  # now it is a run's
    assert load_recipe(str(path)).method["update"] == "gradient"


@pytest.mark.parametrize(
    ("sweep", "runs", "count", "update", "workers"),
    [
        ("emoji-photos/sweep.yaml", "emoji-photos/runs", 120, "gradient", 0),
        ("renders-photos/none.yaml", "renders-photos/runs", 72, "proximal", "auto"),
        ("renders-photos/randaugment.yaml", "renders-photos/randaugment", 72, "proximal", "auto"),
    ],
)
def test_committed_runs_are_read_as_they_were_trained_and_their_sweep_says_so(sweep, runs, count, update, workers):
    planned = load_sweep(REPORTS / sweep)
    assert len(planned) == count
    for one in planned:
        saved = load_recipe(str(REPORTS / runs / one.name / "recipe.yaml"))
        assert saved.method == one.recipe.method
        assert saved.train == one.recipe.train.model_copy(update={"workers": workers})
        assert saved.method.get("update", update) == update
