"""Released weights become files of ours: ImageNet state dicts, and the official checkpoints of CSG and ASG.

A file is read with ``weights_only=True`` and nothing else. Every tensor of it is used, or left out under a name with a
reason; every tensor of the network comes from it, or is filled with zeros under a name. Anything else is an error.

The official files lie on a drive without version or hash and were not at hand: their layout is written down from the
released code: VisDA-17's of both, and CSG's from GTA5 to Cityscapes (ASG's segmentation is another network, FCN-8s of
VGG-16). Their epoch was chosen on the target domain, which the checkpoint made of them says (``selection``).
"""

import importlib.metadata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor

from csg_train.data.readers.driving import CLASSES
from csg_train.data.readers.lists import VISDA_CLASSES, VISDA_COUNTS
from csg_train.errors import UserError
from csg_train.files import atomic_write, read_hashed
from csg_train.models.backbones import backbone_spec
from csg_train.models.ibn import rewrite_ibn
from csg_train.models.spec import StateDict
from csg_train.models.timm_models import own_timm_name
from csg_train.models.weights import fitted_backbone, require_sound
from csg_train.models.wrapping import unprefixed, unwrapped
from csg_train.names import absent
from csg_train.recipes.network import build_network
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import FORMAT, Checkpoint, save_checkpoint
from csg_train.runs.layouts import CSG_SEGMENTATION, LAYOUTS, Layout
from csg_train.tensors import fits, load_tensors, machine_fault, unreadable

__all__ = ["Mapped", "import_file", "map_state"]

_BEST = ("best_prec1", "best_mIoU")
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What the official training of a task saw.

    Attributes:
        classes: In index order.
        data: Its source, by name.
        count: Of the source's pictures.
        steps_per_epoch: Optimiser steps.
    """

    classes: tuple[str, ...]
    data: str
    count: int
    steps_per_epoch: int


_VISDA = _Training(
    classes=VISDA_CLASSES,
    data="visda17:train",
    count=sum(VISDA_COUNTS["train"]),
    steps_per_epoch=sum(VISDA_COUNTS["train"]) // 32,  # without an epoch's rest: 4,762
)
_GTA5 = _Training(classes=CLASSES, data="gta5:train", count=12403, steps_per_epoch=2000)  # drawn with replacement


@dataclass(frozen=True)
class Mapped:
    """A state dict under our names (CPU, contiguous, of the network's types), and lines that say what was done."""

    state: StateDict
    lines: tuple[str, ...]


def map_state(theirs: Mapping[str, Any], own: StateDict, layout: Layout, *, origin: str) -> Mapped:
    """Rename a file's tensors to ours, strictly.

    Args:
        theirs: State dict of the file; what wrappers put before every name (``module.``, ``_orig_mod.``) is removed.
        own: State dict of our network, for names, shapes and types.
        layout: Of the file.
        origin: Names file, kind and network in errors.

    Returns:
        Every tensor of ``own``. Zeros stand for tensors whose place in the file is left out (the ImageNet classifier
        of CSG), and for the batch counters that files of old torch versions lack.

    Raises:
        UserError: A tensor is missing, unexpected, or of another shape or type; the first ten are named.
    """
    theirs = unprefixed(theirs)
    places = {_their_name(name, layout): name for name in own}
    reasons = {key: prefix for key in (*theirs, *places) if (prefix := _left_out(key, layout)) is not None}
    filled = [key for key in places if key in reasons or (key.endswith(".num_batches_tracked") and key not in theirs)]
    faults = [f"missing {key}" for key in places if key not in theirs and key not in filled]
    faults += [f"unexpected {key}" for key in theirs if key not in places and key not in reasons]
    used = [key for key in places if key in theirs and key not in reasons]
    faults += [fault for key in used if (fault := _fault(key, theirs[key], own[places[key]]))]
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise UserError(f"{origin}: {'; '.join(faults[:_SHOWN])}{more}; check --kind, --recipe and --set model.*")
    state = {places[key]: _own_copy(theirs[key], own[places[key]]) for key in used}
    state |= {places[key]: torch.zeros_like(own[places[key]]) for key in filled}
    lines = [
        f"{part}: {count} tensors from {prefix}*"
        for part, (ours, prefix) in layout.parts.items()
        if (count := sum(places[key].startswith(ours) for key in used))
    ]
    if cast := sum(theirs[key].dtype != own[places[key]].dtype for key in used):
        lines.append(f"converted: {cast} tensors to the network's number type")
    for prefix, count in Counter(reasons[key] for key in theirs if key in reasons).items():
        lines.append(f"left out: {prefix}* ({count} tensors: {layout.left_out[prefix]})")
    lines += _filled_lines([places[key] for key in filled])
    return Mapped({name: state[name] for name in own}, tuple(lines))


def _their_name(name: str, layout: Layout) -> str:
    ours, prefix = next(pair for pair in layout.parts.values() if name.startswith(pair[0]))
    return prefix + name.removeprefix(ours)


def _left_out(key: str, layout: Layout) -> str | None:
    """The first prefix of those left out that a name begins with."""
    return next((prefix for prefix in layout.left_out if key.startswith(prefix)), None)


def _fault(key: str, value: Any, own: Tensor) -> str | None:
    if not isinstance(value, Tensor):
        return f"{key} is a {type(value).__name__}, not a tensor"
    if value.shape != own.shape:
        return f"{key} is {tuple(value.shape)}, not {tuple(own.shape)}"
    if not fits(value, own):
        return f"{key} is {value.dtype}, not {own.dtype}"
    return None


def _own_copy(value: Tensor, own: Tensor) -> Tensor:
    """A copy with memory of its own: a view would bring its whole storage into the file."""
    return value.detach().to(own.dtype).clone(memory_format=torch.contiguous_format)


def _filled_lines(names: list[str]) -> list[str]:
    counters = [name for name in names if name.endswith(".num_batches_tracked")]
    others = [name for name in names if name not in counters]
    lines = [f"zeros: {', '.join(others)}, which the file does not have"] if others else []
    if counters:
        lines.append(f"zeros: {len(counters)} num_batches_tracked, which old files lack and no prediction uses")
    return lines


def import_file(file: Path, kind: str, recipe: Recipe, out: Path, *, field: str | None = None) -> list[str]:
    """Read released weights and write them as a checkpoint (``csg``, ``asg``) or a state-dict file (the others).

    Args:
        file: The released file.
        kind: Key of `LAYOUTS`.
        recipe: Names backbone and head; a checkpoint carries it on.
        out: The file to write; it must not exist.
        field: The field of the file that is meant, where it has several state dicts.

    Returns:
        Lines that say what was mapped, filled and left out.

    Raises:
        UserError: The file cannot be read safely or does not fit, the recipe is another method's, or ``out`` exists.
    """
    if out.exists():
        raise UserError(f"{out}: exists; remove it or choose another --out")
    if out.suffix == ".safetensors":
        raise UserError(f"--out {out}: a file of torch is written; give a name that ends in .pt")
    _check_recipe(kind, recipe)
    content, digest = _read(file)
    state, rest = _unwrap(content, file, field)
    layout = _layout(kind, recipe, state, file)
    training = _VISDA if recipe.segmentation is None else _GTA5
    if kind in ("torchvision", "timm"):
        backbone, state, lacking = fitted_backbone(recipe.model.backbone, state, str(file))
        network: torch.nn.Module = backbone.net
        layout = replace(layout, left_out=dict.fromkeys(lacking, "no classifier of this network"))
    else:
        network = _network(kind, recipe, len(training.classes))
    origin = f"{file}: not {kind} weights of {recipe.model.backbone}"
    mapped = map_state(state, network.state_dict(), layout, origin=origin)
    require_sound(mapped.state, str(file))
    lines = [f"{file}: SHA-256 {digest}", *mapped.lines]
    if fields := [name for name in rest if name not in ("epoch", *_BEST)]:
        lines.append(f"left out: {', '.join(map(str, fields))} (fields beside the state dict)")
    if kind not in ("csg", "asg"):
        atomic_write(out, lambda stream: torch.save(mapped.state, stream))
        return [*lines, f"{out}: state dict, for csg-train run --weights"]
    epoch = rest.get("epoch")
    if type(epoch) is not int or epoch < 0:
        raise UserError(f"{file}: epoch is {epoch!r}, not a count; give the official file as it was released")
    checkpoint = _checkpoint(mapped.state, kind, recipe, digest, epoch, training)
    save_checkpoint(out, checkpoint)
    for name in _BEST:
        if (best := _number(rest.get(name))) is not None:
            lines.append(f"{name}: {best:.2f} (stored in the file, not measured here)")
    return [*lines, f"{out}: checkpoint of epoch {epoch}, step {checkpoint.step}; the epoch was chosen on the target"]


def _check_recipe(kind: str, recipe: Recipe) -> None:
    name, method = recipe.model.backbone, recipe.method["name"]
    if kind in ("csg", "asg", "ibn-net"):
        if method != kind:
            raise UserError(f"--recipe {recipe.name}: its method is {method}, not {kind}; use {LAYOUTS[kind].recipe}")
        if kind == "asg" and recipe.segmentation is not None:
            raise UserError(f"--recipe {recipe.name}: the released segmentation of asg is of VGG-16, which is not here")
        return
    own = own_timm_name(name)
    known = own in torchvision.models.list_models() if kind == "torchvision" else timm.is_model(own)
    if not known:
        raise UserError(f"--kind {kind}: has no {name}; choose another kind or --set model.backbone=NAME")


def _layout(kind: str, recipe: Recipe, state: Mapping[str, Any], file: Path) -> Layout:
    if kind != "csg":
        return LAYOUTS[kind]
    masks = any(".conv2d_list." in key for key in state)
    if masks == (recipe.segmentation is not None):
        return CSG_SEGMENTATION if masks else LAYOUTS[kind]
    deep = any(".layer3.22." in key for key in state)
    fit = LAYOUTS["csg"].recipe if not masks else f"gta5-resnet{101 if deep else 50}-csg"
    task = "segmentation" if masks else "classification"
    raise UserError(f"{file}: a {task} file, which --recipe {recipe.name} is not of; use --recipe {fit}")


def _read(path: Path) -> tuple[Any, str]:
    try:
        return read_hashed(path, load_tensors)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{absent(path)}; check the path") from error
    except Exception as error:  # torch raises many types for foreign and cut files
        raise machine_fault(path, error) or UserError(f"{path}: {unreadable(path, error)}") from error


def _unwrap(content: Any, path: Path, field: str | None = None) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The state dict, and the fields beside it."""
    if isinstance(content, Mapping) and content.get("format") == FORMAT:
        raise UserError(f"{path}: a checkpoint of csg-train, not a released file; it is measured as it is")
    state, rest = unwrapped(content, field=field, origin=str(path), choice="choose one with --field NAME")
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a state dict; check the file")
    return state, rest


def _network(kind: str, recipe: Recipe, classes: int) -> torch.nn.Module:
    if kind in ("csg", "asg"):
        return build_network(recipe, classes=classes)
    net = backbone_spec(recipe.model.backbone).build()
    rewrite_ibn(net, recipe.method["variant"])
    return net


def _checkpoint(
    state: StateDict, kind: str, recipe: Recipe, digest: str, epoch: int, training: _Training
) -> Checkpoint:
    """A checkpoint that can be measured; it has no optimiser state, so training cannot continue from it."""
    return Checkpoint(
        recipe=recipe.as_dict(),
        step=epoch * training.steps_per_epoch,
        classes=list(training.classes),
        data={"name": training.data, "identity": "not recorded", "count": training.count},
        weights=digest,
        model=state,
        method={},
        optimizer={},
        rng=[],
        log_bytes=0,
        versions={
            "csg-toolkit": importlib.metadata.version("csg-toolkit"),
            "imported from": f"official {kind} checkpoint, SHA-256 {digest}",
        },
        selection="oracle",
    )


def _number(value: Any) -> float | None:
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    return float(value) if isinstance(value, int | float) else None
