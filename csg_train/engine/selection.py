"""Selection rules: which step of a run its numbers are measured on.

``last`` takes the last step and looks at no picture. The two others measure the mean-per-class accuracy (of a
segmentation the mean IoU) every ``evaluate.select_every`` steps and at the last one, and keep the first step that
reached the highest value in ``best.pt``: ``source-val`` on held-out synthetic pictures, ``oracle`` on the target, which
no honest comparison may do (the published numbers do).

A run with ``average`` has its average measured in place of a step. SWAD's window is chosen by the loss on the held-out
synthetic pictures, so they are measured every ``average.every`` steps.
"""

from pathlib import Path

from csg_train.data.readers.sets import AnySet
from csg_train.recipes.options import SWAD
from csg_train.recipes.pictures import load_split
from csg_train.recipes.sections import Recipe
from csg_train.splits import SELECTED_ON

__all__ = ["chosen_file", "is_due", "measure_name", "selection_images"]


def chosen_file(recipe: Recipe, out: Path) -> Path:
    """The checkpoint in a run's folder that the recipe's rule chooses."""
    if recipe.average is not None:
        return out / "average.pt"
    return out / ("best.pt" if recipe.evaluate.select in SELECTED_ON else "ckpt.pt")


def is_due(step: int, recipe: Recipe) -> bool:
    """Whether the rule measures after this many steps."""
    if isinstance(recipe.average, SWAD):
        every, first = recipe.average.every, recipe.train.probe + 1
    elif recipe.evaluate.select in SELECTED_ON:
        every, first = recipe.evaluate.select_every, 1
    else:
        return False
    return step >= first and (step % every == 0 or step == recipe.train.steps)


def measure_name(recipe: Recipe) -> str:
    """What the log calls the measured number."""
    return "loss_validation" if recipe.average is not None else f"accuracy_{SELECTED_ON[recipe.evaluate.select]}"


def selection_images(recipe: Recipe, classes: tuple[str, ...]) -> AnySet | None:
    """The pictures that the rule measures, or None for ``last``.

    Raises:
        UserError: They are missing, or their classes differ from the source's.
    """
    return None if recipe.chosen_on is None else load_split(recipe.data, recipe.chosen_on, classes)
