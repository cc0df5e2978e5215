"""The pictures that a checkpoint is measured on."""

from csg_train.data.readers.sets import AnySet
from csg_train.errors import UserError
from csg_train.recipes.pictures import load_split
from csg_train.recipes.ready import shared_files
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint

__all__ = ["load_measured"]


def load_measured(checkpoint: Checkpoint, recipe: Recipe, split: str) -> AnySet:
    """The pictures of a split; what is called validation or target was not trained on.

    Args:
        checkpoint: What is measured.
        recipe: Its own, or that with other data (``--set``).
        split: ``source``, ``validation`` or ``target``.

    Raises:
        UserError: As `load_split`, or the checkpoint was trained on pictures of the validation or target set.
    """
    images = load_split(recipe.data, split, checkpoint.classes)
    if split != "source" and (count := _trained_on(checkpoint, images)):
        raise UserError(
            f"{checkpoint.path}: data.{split}: the run was trained on {count} of its pictures; name others, or measure "
            "what it was trained on as --split source"
        )
    return images


def _trained_on(checkpoint: Checkpoint, images: AnySet) -> int:
    """How many pictures a run was trained on; where those are not on this machine, all or none of them."""
    try:
        source = load_split(checkpoint.resolved_recipe().data, "source", checkpoint.classes)
    except UserError:
        return len(images) if images.identity == checkpoint.data["identity"] else 0
    return shared_files(images, source)
