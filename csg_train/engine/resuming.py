"""Whether a checkpoint is of the run that is to be continued."""

from collections.abc import Mapping, Sequence
from typing import Any

from csg_train.errors import UserError
from csg_train.recipes.faults import differences
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint

__all__ = ["require_same_run"]


def require_same_run(
    saved: Checkpoint, recipe: Recipe, *, classes: Sequence[str], weights: str, data: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint of another run.

    Args:
        saved: The checkpoint.
        recipe: Of this run, like all that follows.
        classes: In their order.
        weights: Hash of the starting weights.
        data: What a checkpoint says of the pictures.

    Raises:
        UserError: It cannot be continued, or recipe, classes, starting weights or pictures differ.
    """
    path = saved.path
    if not saved.optimizer:
        raise UserError(f"{path}: imported or a snapshot, without the optimiser's state; choose another --out to train")
    if changed := differences(saved.resolved_recipe().as_run(), recipe.as_run()):
        raise UserError(
            f"{path}: its recipe differs from this run's in {'; '.join(changed[:3])}; use the same recipe, or "
            "--overwrite"
        )
    then = {"classes": saved.classes, "weights": saved.weights}
    if changed := differences(then, {"classes": list(classes), "weights": weights}):
        raise UserError(f"{path}: it differs from this run in {changed[0]}; use the same recipe, or --overwrite")
    known = {name: value for name, value in data.items() if name in saved.data}  # an earlier version said less
    if changed := differences(saved.data, known):
        raise UserError(
            f"{path}: the source, background, selection or style pictures changed since, by names, labels or file "
            f"sizes: {'; '.join(changed[:3])}; restore them, or use --overwrite"
        )
