"""The network that a recipe describes."""

from csg_train.methods.base import Method
from csg_train.models.deeplab import SegmentationNetwork
from csg_train.models.network import Network, TaskNetwork
from csg_train.models.weights import load_weights
from csg_train.recipes.sections import Recipe

__all__ = ["build_network", "start_network"]


def build_network(recipe: Recipe, *, classes: int) -> TaskNetwork:
    """Backbone and head for the recipe's task, with random weights; not yet rewritten by the method."""
    model, seed, segmentation = recipe.model, recipe.seed, recipe.segmentation
    if segmentation is None:
        return Network(model.backbone, classes=classes, hidden=model.hidden, seed=seed)
    return SegmentationNetwork(
        model.backbone,
        classes=classes,
        head=segmentation.head,
        affine=segmentation.affine,
        seed=seed,
        output_stride=segmentation.output_stride,
    )


def start_network(recipe: Recipe, method: Method, *, classes: int) -> tuple[TaskNetwork, str]:
    """The network at the start of training, and the SHA-256 of its weights (``"none"`` if random).

    Raises:
        UserError: The starting weights are missing or of another network.
    """
    network = build_network(recipe, classes=classes)
    if method.rewrite_first:
        method.rewrite(network.backbone)
    weights = load_weights(network.backbone, recipe.model.backbone, recipe.model.weights)
    if not method.rewrite_first:
        method.rewrite(network.backbone)
    return network, weights
