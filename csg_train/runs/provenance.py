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
    """Those of its recipe, of its average only where these are the averaged weights; later averages have their rule."""
    averaged = checkpoint.averaged
    if averaged and "of" not in averaged:
        return options_of(checkpoint.recipe)
    own = options_of(checkpoint.recipe | {"average": None})
    if not averaged:
        return own
    options = own | {"average": averaged["rule"]}
    options |= {"average_alpha": averaged["alpha"]} if "alpha" in averaged else {"runs": len(averaged["of"])}
    alike = {"method": checkpoint.recipe["method"]["name"], "method_config": _config(checkpoint), "options": own}
    if any(
        part.get(name, value) != value for part in averaged["of"] for name, value in (alike | {"averaged": {}}).items()
    ):
        options["of"] = sorted({_part(part, **alike) for part in averaged["of"]})
    return options


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {key: value for key, value in checkpoint.recipe["method"].items() if key != "name"}


def _part(part: Mapping[str, Any], *, method: str, method_config: Mapping[str, Any], **_: Any) -> str:
    """What went into an average: method, its fields where the recipe's are others, options, the rule if it is one."""
    known = method_config if part["method"] == method else {}
    own = part.get("method_config", {})  # earlier files do not say it
    shown = sorted((name, value) for name, value in own.items() if known.get(name) != value)
    shown += sorted(part["options"].items())
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
