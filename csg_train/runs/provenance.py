"""What every record says of its checkpoint and of its pictures."""

from collections.abc import Mapping
from typing import Any

from csg_train.data.readers.sets import AnySet
from csg_train.recipes.options import options_of
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import Showing
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.records import DataInfo, RunInfo

__all__ = ["data_info", "run_info"]


def run_info(checkpoint: Checkpoint) -> RunInfo:
    """Where a loaded checkpoint comes from."""
    recipe = checkpoint.recipe
    return RunInfo(
        recipe=recipe["name"],
        method=recipe["method"]["name"],
        method_config=_config(checkpoint),
        seed=recipe["seed"],
        backbone=recipe["model"]["backbone"],
        weights=checkpoint.weights,
        source=checkpoint.data["name"],
        source_identity=checkpoint.data["identity"],
        step=checkpoint.step,
        selection=checkpoint.selection,
        checkpoint_sha256=checkpoint.sha256,
        versions=checkpoint.versions,
        options=_options(checkpoint),
        averaged=checkpoint.averaged,
    )


def _options(checkpoint: Checkpoint) -> dict[str, object]:
    """Those of its recipe; weights that were averaged after training have a rule of their own."""
    own, averaged = options_of(checkpoint.recipe), checkpoint.averaged
    if "of" not in averaged:
        return own
    options = own | {"average": averaged["rule"]}
    options |= {"average_alpha": averaged["alpha"]} if "alpha" in averaged else {"runs": len(averaged["of"])}
    config = _config(checkpoint)
    name = checkpoint.recipe["method"]["name"]
    alike = {"method": name, "method_config": config, "options": own, "averaged": {}}
    parts = [alike | part for part in averaged["of"]]  # earlier ones do not say how their method was set
    if any(part[field] != value for part in parts for field, value in alike.items()):
        options["of"] = sorted({_part(part, config if part["method"] == name else {}) for part in parts})
    return options


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {key: value for key, value in checkpoint.recipe["method"].items() if key != "name"}


def _part(part: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What went into an average: method, what of it is not as ``known``, options, the rule where it is one itself."""
    set_otherwise = {name: value for name, value in part["method_config"].items() if known.get(name) != value}
    shown = sorted(set_otherwise.items()) + sorted(part["options"].items())
    options = [f"{name}={value}" for name, value in shown if name != "average"]
    return " ".join([part["method"], *options, *([f"({rule})"] if (rule := part["averaged"].get("rule")) else [])])


def data_info(images: AnySet, *, split: str, recipe: Recipe | Showing) -> DataInfo:
    """An image set, shown as a recipe says."""
    showing = recipe if isinstance(recipe, Showing) else Showing.of(recipe)
    return DataInfo(
        split=split,
        name=images.name,
        identity=images.identity,
        count=len(images),
        size=showing.size,
        fit=showing.fit,
        precision="float32",
    )
