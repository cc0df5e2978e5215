"""Runs to choose among: each is measured by itself, then beside the others, and becomes a record."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from csg_analysis.choosing.outputs import network_outputs
from csg_analysis.choosing.table import MEASURES
from csg_train.data.readers.images import ImageSet
from csg_train.errors import UserError
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.provenance import data_info, run_info
from csg_train.runs.records import ChoosingRecord, LabelFree
from csg_train.splits import SPLITS

__all__ = ["Candidate", "best_runs", "choosing_records", "measure_run"]


@dataclass(frozen=True)
class Candidate:
    """One run, measured by itself.

    Attributes:
        record: Of it alone, without the measures that take other runs.
        setting: Everything that determines the run but its seed.
        seed: Its seed.
        predicted_N: Classes that it gives to the real pictures.
    """

    record: ChoosingRecord
    setting: str
    seed: int
    predicted_N: np.ndarray


def measure_run(
    checkpoint: Checkpoint,
    network: TaskNetwork,
    *,
    held_out: ImageSet,
    target: ImageSet,
    recipe: Recipe,
    layer: str,
) -> Candidate:
    """Show a checkpoint the pictures of both sides once, and measure what it makes of them.

    Args:
        checkpoint: Of the network.
        network: In evaluation mode.
        held_out: Synthetic pictures with labels, none of which it was trained on.
        target: Real ones; their labels, if they have any, are not read.
        recipe: The checkpoint's, perhaps changed: says how pictures are shown.
        layer: Stage of the features.

    Raises:
        UserError: No such stage, a picture cannot be read, or the network gives numbers that are not finite.
    """
    held, real = (network_outputs(network, images, recipe, layer=layer) for images in (held_out, target))
    for own in (held, real):
        if not (np.isfinite(own.features_ND).all() and np.isfinite(own.probabilities_NC).all()):
            raise UserError(
                f"{checkpoint.path}: the network gives NaN or infinity, so its training failed; leave it out"
            )
    labels_M = np.array(held_out.labels)
    inputs = {
        "held_features": held.features_ND,
        "held_labels": labels_M,
        "held_probabilities": held.probabilities_NC,
        "held_right": held.predicted_N == labels_M,
        "real_features": real.features_ND,
        "real_probabilities": real.probabilities_NC,
    }
    run = run_info(checkpoint)
    record = ChoosingRecord(
        run=run,
        data=data_info(target, split="target", recipe=recipe),
        held_out=data_info(held_out, split="validation", recipe=recipe),
        layer=layer,
        pool="average",
        dim=real.features_ND.shape[1],
        flip=recipe.evaluate.flip,
        measures={name: one.recorded(inputs) for name, one in MEASURES.items() if inputs.keys() >= set(one.takes)},
        together=[run.checkpoint_sha256],
    )
    chosen_step = run.step if run.selection == "last" else run.selection
    setting = [_setting(recipe), run.weights, run.source_identity, run.options, chosen_step]
    return Candidate(record, json.dumps(setting, sort_keys=True), run.seed, real.predicted_N)


def _setting(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe sets two runs apart, but for the seed: not how they are called, loaded, logged and saved.

    Pictures and starting weights are compared by what they are, not by where they lay.
    """
    left_out: dict[str, Any] = {
        "seed": True,
        "name": True,
        "data": set(SPLITS),
        "model": {"weights"},
        "train": {"workers", "log_every", "save_every", "snapshots"},
        "evaluate": {"select_every"} if recipe.evaluate.select == "last" else set(),
    }
    return recipe.model_dump(mode="json", exclude=left_out)


def choosing_records(candidates: Sequence[Candidate]) -> list[ChoosingRecord]:
    """The record of each, with every measure in the order of the table: those too that take the other runs."""
    together = [sha256 for one in candidates for sha256 in one.record.together]
    return [
        one.record.model_copy(update={"together": together, "measures": _all_measures(one, candidates)})
        for one in candidates
    ]


def _all_measures(own: Candidate, candidates: Sequence[Candidate]) -> dict[str, LabelFree]:
    others = [one for one in candidates if one is not own]
    inputs = {
        "of_runs": np.array([one.predicted_N for one in others]),
        "of_seeds": np.array(
            [one.predicted_N for one in others if one.setting == own.setting and one.seed != own.seed]
        ),
        "real_predicted": own.predicted_N,
    }
    return {name: own.record.measures.get(name) or one.recorded(inputs) for name, one in MEASURES.items()}


def best_runs(records: Sequence[ChoosingRecord], name: str) -> list[int]:
    """Positions of the runs that a measure chooses: of equal values all, without any value none."""
    found = {index: own for index, record in enumerate(records) if (own := record.measures[name]).value is not None}
    signed = {index: (own.value or 0.0) * (1 if own.higher_is_better else -1) for index, own in found.items()}
    return [index for index, value in signed.items() if value == max(signed.values())]
