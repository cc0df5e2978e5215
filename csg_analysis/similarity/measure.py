"""A checkpoint beside the weights that its training started from, or a model beside another, stage by stage."""

from collections.abc import Sequence

import numpy as np
import torch

from csg_analysis.features.pooled import Pool, Stability, pooled_batches
from csg_analysis.similarity.metrics.cka import CKA
from csg_analysis.similarity.metrics.spread import class_spread
from csg_analysis.similarity.metrics.table import METRICS
from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.sets import AnySet
from csg_train.models.backbones import Backbone
from csg_train.models.network import TaskNetwork
from csg_train.recipes.network import start_network
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import Showing
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.provenance import run_info
from csg_train.runs.records import DataInfo, OutsideInfo, RunInfo, SimilarityRecord

__all__ = ["Shown", "beside", "measures", "similarity_record", "starting_backbone"]

Shown = tuple[Backbone, Recipe | Showing]
"""A network in evaluation mode, and how it is shown pictures."""


def starting_backbone(checkpoint: Checkpoint, recipe: Recipe, device: torch.device) -> tuple[Backbone, str]:
    """The backbone as it was before the first step, in evaluation mode, and the SHA-256 of its weights.

    Random starting weights (``model.weights: none``) are drawn again from the run's seed.

    Raises:
        UserError: The weights' file or package is missing or does not fit.
    """
    network, digest = start_network(recipe, recipe.build_method(), classes=len(checkpoint.classes))
    backbone = network.backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return backbone.eval(), digest


def measures(features_ND: np.ndarray, labels_N: np.ndarray | None) -> dict[str, float]:
    """Every metric of the table that needs one model alone, by name; without classes, those that need none."""
    inputs = {"features": features_ND} | ({} if labels_N is None else {"labels": labels_N})
    return {name: metric.of(**inputs) for name, metric in METRICS.items() if inputs.keys() >= set(metric.takes)}


def similarity_record(
    checkpoint: Checkpoint,
    network: TaskNetwork,
    images: AnySet,
    *,
    recipe: Recipe,
    data: DataInfo,
    layer: str,
    pool: Pool,
) -> SimilarityRecord:
    """Measure one checkpoint and its starting weights on the same pictures.

    Args:
        checkpoint: Says where the training started.
        network: Its network, in evaluation mode.
        images: The pictures; all stages are held in memory, 8 bytes a number. Pictures with masks have no one class
            each, those without labels a class that nobody knows, and one picture of each class no neighbour: what
            needs classes is left out.
        recipe: Of the checkpoint.
        data: The pictures, for the record.
        layer: Stage of the measures of one model; CKA is of every stage.
        pool: How a stage becomes a vector.

    Raises:
        UserError: No such stage, missing starting weights, a collapsed stage, or a bad picture.
    """
    network.backbone.require_stages([layer], "--layer")
    start, digest = starting_backbone(checkpoint, recipe, next(network.parameters()).device)
    return beside(
        (network.backbone, recipe),
        (start, recipe),
        images,
        run=run_info(checkpoint),
        start=digest,
        data=data,
        layer=layer,
        pool=pool,
    )


def beside(
    own: Shown,
    other: Shown,
    images: AnySet,
    *,
    run: RunInfo | OutsideInfo,
    start: str,
    data: DataInfo,
    layer: str,
    pool: Pool,
) -> SimilarityRecord:
    """Measure one model and another on the same pictures, each shown them in its way.

    Args:
        own: The model that the record is of.
        other: The one that it is compared with.
        images: As for `similarity_record`.
        run: What the record says of the model.
        start: SHA-256 of the other's weights.
        data: The pictures, for the record.
        layer: Stage of the measures of one model; CKA is of every stage that both have under one name.
        pool: How a stage becomes a vector.

    Raises:
        UserError: One of them has no such stage, a collapsed stage, or a bad picture.
    """
    for backbone, _ in (own, other):
        backbone.require_stages([layer], "--layer")
    names = list(own[0].stage_paths)
    stage = own[0].own_name(layer)
    if stage not in other[0].widths:  # stage4 of timm's and layer4 of torchvision's are one
        names, stage = list(other[0].stage_paths), other[0].own_name(layer)
    names = [name for name in names if name in own[0].widths and name in other[0].widths]
    seen = Stability()
    ours = _stages(own, images, names, pool, seen)
    before = _stages(other, images, names, pool, Stability())
    labels_N, by_class = None, {}
    if isinstance(images, ImageSet) and images.labelled and len(set(images.labels)) < len(images):
        labels_N = np.array(images.labels)
        present = [images.classes[label] for label in np.unique(labels_N)]
        by_class = dict(zip(present, map(float, class_spread(ours[stage], labels_N)), strict=True))
    measured = measures(ours[stage], labels_N)
    return SimilarityRecord(
        run=run,
        data=data,
        start=start,
        pool=pool,
        cka={name: CKA.of(features=ours[name], others=before[name]) for name in ours},
        layer=layer,
        dim=ours[stage].shape[1],
        measures=measured,
        start_measures=measures(before[stage], labels_N),
        spread_by_class=by_class,
        definitions={
            name: f"{metric.definition} ({metric.source})"
            for name, metric in METRICS.items()
            if metric is CKA or name in measured
        },
        stability={name: found for name in ours if (found := seen.of(name)) is not None},
    )


def _stages(
    model: Shown, images: AnySet, stages: Sequence[str], pool: Pool, stability: Stability
) -> dict[str, np.ndarray]:
    batches = list(pooled_batches(model[0], images, model[1], layers=stages, pool=pool, stability=stability))
    return {stage: np.concatenate([batch[stage] for batch in batches]) for stage in stages}
