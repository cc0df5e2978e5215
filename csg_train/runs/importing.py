"""Released weights become files of ours: ImageNet state dicts, and the official VisDA-17 checkpoints of CSG and ASG.

A file is read with ``weights_only=True`` and nothing else. Every tensor of it is used, or left out under a name with a
reason; every tensor of the network comes from it, or is filled with zeros under a name. Anything else is an error.

The official files lie on a drive without version or hash and were not at hand: their layout is written down from the
released code. Their epoch was chosen on the target domain, which the checkpoint made of them says (``selection``).
"""

import importlib.metadata
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor

from csg_train.data.readers.lists import VISDA_CLASSES, VISDA_COUNTS
from csg_train.errors import UserError
from csg_train.files import atomic_write, foreign_content, sha256_file
from csg_train.models.backbones import backbone_spec
from csg_train.models.ibn import rewrite_ibn
from csg_train.models.network import Network
from csg_train.models.timm_models import PREFIX
from csg_train.models.wrapping import FIELDS, unprefixed
from csg_train.names import absent
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import FORMAT, Checkpoint, save_checkpoint
from csg_train.runs.layouts import LAYOUTS, Layout
from csg_train.tensors import load_tensors

__all__ = ["Mapped", "import_file", "map_state"]

StateDict = dict[str, Tensor]
_STEPS_PER_EPOCH = sum(VISDA_COUNTS["train"]) // 32
"""Of the official training: batches of 32 without an epoch's rest, 4,762."""
_SHOWN = 10


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
    if value.is_floating_point() != own.is_floating_point() or value.layout != torch.strided:
        return f"{key} is {value.layout} {value.dtype}, not {own.layout} {own.dtype}"
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


def import_file(file: Path, kind: str, recipe: Recipe, out: Path) -> list[str]:
    """Read released weights and write them as a checkpoint (``csg``, ``asg``) or a state-dict file (the others).

    Args:
        file: The released file.
        kind: Key of `LAYOUTS`.
        recipe: Names backbone and head; a checkpoint carries it on.
        out: The file to write; it must not exist.

    Returns:
        Lines that say what was mapped, filled and left out.

    Raises:
        UserError: The file cannot be read safely or does not fit, the recipe is another method's, or ``out`` exists.
    """
    if out.exists():
        raise UserError(f"{out}: exists; remove it or choose another --out")
    _check_recipe(kind, recipe)
    content, digest = _read(file)
    state, rest = _unwrap(content, file)
    network = _network(kind, recipe)
    origin = f"{file}: not {kind} weights of {recipe.model.backbone}"
    mapped = map_state(state, network.state_dict(), LAYOUTS[kind], origin=origin)
    lines = [f"{file}: SHA-256 {digest}", *mapped.lines]
    if fields := [name for name in rest if name not in ("epoch", "best_prec1")]:
        lines.append(f"left out: {', '.join(map(str, fields))} (fields beside the state dict)")
    if kind not in ("csg", "asg"):
        atomic_write(out, lambda stream: torch.save(mapped.state, stream))
        return [*lines, f"{out}: state dict, for csg-train run --weights"]
    epoch = rest.get("epoch")
    if type(epoch) is not int or epoch < 0:
        raise UserError(f"{file}: epoch is {epoch!r}, not a count; give the official file as it was released")
    checkpoint = _checkpoint(mapped.state, kind, recipe, digest, epoch)
    save_checkpoint(out, checkpoint)
    if (best := _number(rest.get("best_prec1"))) is not None:
        lines.append(f"best_prec1: {best:.2f} (stored in the file, not measured here)")
    return [*lines, f"{out}: checkpoint of epoch {epoch}, step {checkpoint.step}; the epoch was chosen on the target"]


def _check_recipe(kind: str, recipe: Recipe) -> None:
    name, method = recipe.model.backbone, recipe.method["name"]
    if kind in ("csg", "asg", "ibn-net"):
        if method != kind:
            raise UserError(f"--recipe {recipe.name}: its method is {method}, not {kind}; use {LAYOUTS[kind].recipe}")
        return
    known = torchvision.models.list_models() if kind == "torchvision" else timm.list_models()
    if name.removeprefix(PREFIX) not in known:
        raise UserError(f"--kind {kind}: has no {name}; choose another kind or --set model.backbone=NAME")


def _read(path: Path) -> tuple[Any, str]:
    try:
        return load_tensors(path), sha256_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{absent(path)}; check the path") from error
    except Exception as error:  # torch raises many types for foreign and cut files
        if blocked := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path}: refused, it holds more than tensors and plain values ({blocked[1]}); "
                "nothing of it was run; save its state dict alone where you trust it"
            ) from error
        reason = foreign_content(path) or str(error).split("\n", 1)[0][:120]
        raise UserError(f"{path}: not a complete torch file ({reason}); fetch it again") from error


def _unwrap(content: Any, path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The state dict, and the fields beside it."""
    rest: dict[str, Any] = {}
    if isinstance(content, Mapping) and content.get("format") == FORMAT:
        raise UserError(f"{path}: a checkpoint of csg-train, not a released file; it is measured as it is")
    fields = [name for name in FIELDS if isinstance(content, Mapping) and isinstance(content.get(name), Mapping)]
    if fields:
        rest = {name: value for name, value in content.items() if name != fields[0]}
        content = content[fields[0]]
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict; check the file")
    return content, rest


def _network(kind: str, recipe: Recipe) -> torch.nn.Module:
    model = recipe.model
    if kind in ("csg", "asg"):
        return Network(model.backbone, classes=len(VISDA_CLASSES), hidden=model.hidden, seed=recipe.seed)
    net = backbone_spec(model.backbone).build()
    if kind == "ibn-net":
        rewrite_ibn(net, recipe.method["variant"])
    return net


def _checkpoint(state: StateDict, kind: str, recipe: Recipe, digest: str, epoch: int) -> Checkpoint:
    """A checkpoint that can be measured; it has no optimiser state, so training cannot continue from it."""
    return Checkpoint(
        recipe=recipe.as_dict(),
        step=epoch * _STEPS_PER_EPOCH,
        classes=list(VISDA_CLASSES),
        data={"name": "visda17:train", "identity": "not recorded", "count": sum(VISDA_COUNTS["train"])},
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
