"""Averages of weights: the one that a run keeps, and those of finished runs (``csg-train average``)."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csg_train.data.loaders.unseen import Loaded
from csg_train.data.readers.sets import AnySet
from csg_train.devices import full_float32
from csg_train.engine.batches import batches_of
from csg_train.engine.undisturbed import seed_torch, undisturbed
from csg_train.errors import UserError
from csg_train.files import require_new, together, write_text
from csg_train.methods.averaging import EMA, Average, mixed
from csg_train.methods.base import Method
from csg_train.methods.frozen import freeze
from csg_train.methods.swad import SWAD
from csg_train.models.network import TaskNetwork
from csg_train.recipes import options
from csg_train.recipes.faults import differences
from csg_train.recipes.pictures import load_split, require_outside_data
from csg_train.recipes.reading import to_yaml
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from csg_train.runs.provenance import run_info
from csg_train.seeds import seed_for
from csg_train.splits import RULES

__all__ = [
    "average_runs",
    "averaged_state",
    "build_average",
    "hold",
]

_BATCHES = 500
"""At most so many measure the statistics of an average, as in SWAD's released code."""


def build_average(recipe: Recipe, weights: Sequence[Tensor]) -> Average | None:
    """The average that the recipe asks for, of these weights; None where it asks for none."""
    match recipe.average:
        case options.EMA(decay=decay):
            return EMA(weights, decay=decay)
        case options.SWAD() as swad:
            rule = (swad.n_converge, swad.n_tolerance, swad.tolerance_ratio)
            return SWAD(weights, evaluations=recipe.train.steps // swad.every + 1, rule=rule)
    return None


def hold(network: TaskNetwork, recipe: Recipe, frozen: Sequence[nn.Module]) -> None:
    """Set a network for a training step: as the recipe says, and of what is frozen, statistics stay."""
    network.set_training(batch_norm=recipe.model.batch_norm)
    for module in frozen:
        module.eval()
    if not any(weight.requires_grad for weight in network.backbone.parameters()):  # the oracle's
        network.backbone.eval()


def trained_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers whose statistics training moves, of a network as it is set for a step."""
    kind = nn.modules.batchnorm._BatchNorm
    return [module for module in network.modules() if isinstance(module, kind) and module.training]


@torch.no_grad()
@full_float32()
def measure_statistics(network: TaskNetwork, batches: Iterable[Loaded]) -> int:
    """Measure the statistics of `trained_norms` again, as plain means over batches; how many there were.

    Like `torch.optim.swa_utils.update_bn`, which knows no layers that stay as they are.
    """
    norms, count = trained_norms(network), 0
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    for batch in batches if norms else ():
        for norm in norms:
            norm.momentum = 1 / (count + 1)  # with None torch reads the count of batches off the device in each layer
        network(batch.to(next(network.parameters()).device).views[0])
        count += 1
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return count


def statistics_batches(recipe: Recipe, images: AnySet, method: Method) -> Iterator[Loaded]:
    """The first training batches, as many as a pass over the pictures has, `_BATCHES` at most."""
    stop = min(-(-len(images) // recipe.train.batch_size), _BATCHES)
    return batches_of(recipe, images, method, method.styles(), start=0, stop=stop, workers=0)


def averaged_state(
    network: TaskNetwork, average: Average, recipe: Recipe, frozen: Sequence[nn.Module], images: AnySet, method: Method
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A network's state with the averaged weights in it, and what is in them; the network stays as it is."""
    assert recipe.average is not None
    weights, averaged = average.result()
    averaged |= recipe.average.model_dump(mode="json")
    own = {name: value.clone() for name, value in network.state_dict().items()}
    trained = (name for name, weight in network.named_parameters() if weight.requires_grad)
    network.load_state_dict(own | dict(zip(trained, weights, strict=True)))
    hold(network, recipe, frozen)
    if count := measure_statistics(network, statistics_batches(recipe, images, method)):
        averaged["statistics_batches"] = count
    made = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(own)
    return made, averaged


def average_runs(
    paths: Sequence[Path],
    out: Path,
    *,
    alpha: float | None = None,
    overrides: tuple[str, ...] = (),
    device: torch.device,
) -> tuple[Checkpoint, list[str]]:
    """Average the weights of checkpoints, and write ``OUT/average.pt`` with its recipe, that of the last checkpoint.

    Args:
        paths: Of two checkpoints or more, of one network and one start.
        out: A new folder.
        alpha: WiSE-FT: ``(1 - alpha) first + alpha second``; None for the uniform mean.
        overrides: ``data.source.root=FOLDER``, where the pictures for statistics of BatchNorm have moved; the recipe
            that is written stays.
        device: Where statistics of BatchNorm are measured, if training moved them.

    Returns:
        What was written, and lines on what may spoil the mean.

    Raises:
        UserError: A file is no checkpoint of ours, they do not fit together, the folder holds something, or the source
            pictures on which statistics are measured have changed.
    """
    if len(paths) < 2 or (alpha is not None and len(paths) != 2):
        asked = "a start and an end" if alpha is not None else "two checkpoints or more"
        raise UserError(f"{len(paths)} checkpoints given; give {asked}")
    if alpha is not None and not 0 <= alpha <= 1:
        raise UserError(f"--alpha {alpha:g}: give a number from 0 (the start) to 1 (the end)")
    require_new(out, "--out")
    parts = [replace(load_checkpoint(path), method={}, optimizer={}, rng=[], average={}) for path in paths]
    for part in parts[:-1]:
        _require_alike(part, parts[-1])
    shares = [1 / len(parts)] * len(parts) if alpha is None else [1 - alpha, alpha]
    last, recipe = parts[-1], parts[-1].resolved_recipe()
    data = last.resolved_recipe(overrides).data
    for own in (recipe.data, data):
        require_outside_data(out, own)
    network = last.build_network(device)
    state = mixed([part.model for part in parts], shares, {name for name, _ in network.named_parameters()})
    averaged: dict[str, Any] = {"rule": "soup"} if alpha is None else {"rule": "wise-ft", "alpha": alpha}
    if all(shares):
        network.load_state_dict(state)
        if _one_backbone(parts):  # the oracle's: its statistics are right as they are
            network.backbone.requires_grad_(False)
        hold(network, recipe, freeze(network.backbone, recipe.train.frozen))
        if trained_norms(network):
            images, method = load_split(data, "source", last.classes), recipe.build_method()
            if images.identity != last.data["identity"] != "not recorded":  # as of an imported one
                raise UserError(
                    f"{images.root}: other pictures than {last.path} was trained on, by names, labels or file sizes; "
                    "restore them, for the statistics of BatchNorm are measured on those"
                )
            with undisturbed(device):
                seed_torch(seed_for(recipe.seed, "average"), device)  # a head's dropout draws
                count = measure_statistics(network, statistics_batches(recipe, images, method))
            averaged["statistics_batches"] = count
            state = {name: value.cpu() for name, value in network.state_dict().items()}
    averaged["of"] = [_said(part, share) for part, share in zip(parts, shares, strict=True)]
    rule = max((part.selection for part, share in zip(parts, shares, strict=True) if share), key=RULES.index)
    made = replace(last, model=state, averaged=averaged, selection=rule, best_score=None, log_bytes=0)
    with together(out, new_for="--out") as work:
        save_checkpoint(work / "average.pt", made)
        write_text(work / "recipe.yaml", to_yaml(recipe))
    return made, list(_doubts(parts))


def _one_backbone(parts: Sequence[Checkpoint]) -> bool:
    own = [{name: value for name, value in part.model.items() if name.startswith("backbone.")} for part in parts]
    return all(torch.equal(value, other[name]) for other in own[1:] for name, value in own[0].items())


def _said(part: Checkpoint, share: float) -> dict[str, Any]:
    info = run_info(part)
    names = ("recipe", "method", "method_config", "seed", "step", "selection", "options", "averaged")
    return {"sha256": part.sha256, "share": share} | {name: getattr(info, name) for name in names}


def _require_alike(one: Checkpoint, other: Checkpoint) -> None:
    """Refuse checkpoints of two networks, or of two starts: the mean of their weights would be no network."""
    mine, theirs = (
        {
            "starting weights": part.weights if part.weights != "none" else f"drawn with seed {part.recipe['seed']}",
            "classes": part.classes,
            "source pictures": part.data["identity"],
            "model": {name: part.recipe["model"].get(name) for name in ("backbone", "hidden", "batch_norm")},
            "segmentation": part.recipe.get("segmentation"),
            "weights": {name: str(tuple(value.shape)) for name, value in part.model.items()},
        }
        for part in (one, other)
    )
    if changed := differences(mine, theirs):
        raise UserError(f"{one.path}: differs from {other.path} in {changed[0]}; average runs of one network and start")


def _doubts(parts: Sequence[Checkpoint]) -> Iterator[str]:
    hashes = [part.sha256 for part in parts]
    for index, part in enumerate(parts):
        if (times := hashes.count(part.sha256)) > 1 and part.sha256 not in hashes[:index]:
            yield f"{part.path}: given {times} times, so it counts {times} times"
    if len(seeds := {part.recipe["seed"] for part in parts}) > 1:
        yield (
            f"the heads were initialised with different seeds ({', '.join(map(str, sorted(seeds)))}), so their mean is "
            "not a trained head; give runs of one seed"
        )
    if len(methods := dict.fromkeys(part.recipe["method"]["name"] for part in parts)) > 1:
        yield f"of several methods ({', '.join(methods)}): tables call it by the last one's, its records name them all"
    elif len({json.dumps(part.recipe["method"], sort_keys=True) for part in parts}) > 1:
        yield f"of several settings of {parts[-1].recipe['method']['name']}: tables show the last's, its records all"
    for part in parts:
        if part.step == 0:
            yield f"{part.path}: its head is untrained; WiSE-FT begins with a trained one (train.probe, oracle)"
