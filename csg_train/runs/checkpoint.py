"""Checkpoints: one ``.pt`` file of tensors and plain values, written atomically, loaded with ``weights_only=True``."""

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, optim

from csg_train.devices import ordinary_tensors, usable_device
from csg_train.errors import UserError
from csg_train.files import atomic_write, is_safetensors, read_hashed
from csg_train.models.network import TaskNetwork
from csg_train.names import absent
from csg_train.recipes.earlier import as_trained
from csg_train.recipes.network import build_network
from csg_train.recipes.reading import parse_recipe
from csg_train.recipes.sections import Recipe
from csg_train.runs.labels import average_title
from csg_train.runs.portable import portable_bytes, portable_content
from csg_train.runs.versions import written_by
from csg_train.splits import RULES, Rule
from csg_train.tensors import first_bytes, first_not_finite, fits, load_tensors, machine_fault, unreadable

__all__ = [
    "FORMAT",
    "Checkpoint",
    "load_checkpoint",
    "load_network",
    "load_optimizer",
    "load_state",
    "rule_title",
    "save_checkpoint",
    "save_portable",
]

FORMAT = "csg-train/1"
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint file.

    Attributes:
        recipe: The resolved recipe, as plain values.
        step: Optimiser steps done.
        classes: Class names in index order.
        data: Name, identity and count of the source pictures.
        weights: SHA-256 of the starting weights, or ``"none"``.
        model: State dict of the network.
        method: State dict of the method (queues, averages, heads).
        optimizer: State dict of the optimiser.
        rng: State of torch's global generator, and of that of the run's CUDA device.
        log_bytes: Length of ``log.jsonl`` when this was written.
        versions: Of Python and its packages, and where ours was imported from, for the record.
        selection: Rule that chose this step; ``last`` in ``ckpt.pt`` and in snapshots, which nobody chose. Of averaged
            checkpoints the one that saw most: ``oracle`` where a step of any was chosen so.
        average: State dict of the average that the run keeps of its weights; empty without one.
        averaged: Of a checkpoint whose weights are an average, where they come from: the ``rule``, its settings, and
            the steps or (``of``) the checkpoints that are in it. Empty for weights as training left them.
        best_score: Highest accuracy, of 0 to 1, that the recipe's rule measured up to this step: in ``best.pt`` the one
            it was chosen by. None before the first measurement and with the rule ``last``.
        sha256: Of the file; empty before it is written.
        path: Where it was read from.
    """

    recipe: dict[str, Any]
    step: _Count
    classes: Annotated[list[str], Field(min_length=1)]
    data: dict[str, Any]
    weights: str
    model: dict[str, Tensor]
    method: dict[str, Tensor]
    optimizer: dict[str, Any]
    rng: list[Tensor]
    log_bytes: _Count
    versions: dict[str, str]
    selection: Rule = "last"
    best_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    average: dict[str, Tensor] = field(default_factory=dict)
    averaged: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    path: Path = Path()

    def resolved_recipe(self, overrides: tuple[str, ...] = ()) -> Recipe:
        """The recipe as an object, with ``key=value`` overrides (for instance another data root)."""
        try:
            return parse_recipe(as_trained(self.recipe), overrides=overrides, origin=str(self.path))
        except RecursionError as error:
            raise UserError(f"{self.path}: its recipe is nested too deeply; restore the file") from error
        except UserError as error:
            raise UserError(f"{error.message}{written_by(self.versions)}") from error

    def build_network(self, device: torch.device) -> TaskNetwork:
        """The trained network, in evaluation mode.

        Raises:
            UserError: Its weights do not fit the recipe's network, or are not finite.
        """
        recipe = self.resolved_recipe()
        network = build_network(recipe, classes=len(self.classes))
        recipe.build_method().rewrite(network.backbone)
        load_state(network, self.model, self.path)
        if (name := first_not_finite(network.state_dict())) is not None:
            raise UserError(f"{self.path}: {name} is not finite, so it measures nothing; take an earlier checkpoint")
        return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


_FILE_FIELDS = tuple(name for name in Checkpoint.__dataclass_fields__ if name not in ("sha256", "path"))
_LATER_FIELDS = ("selection", "best_score", "average", "averaged")
"""Files of the first version lack these and take the defaults."""
_TYPES: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    for name, kind in get_type_hints(Checkpoint, include_extras=True).items()
    if name in _FILE_FIELDS
}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Data(_Strict):
    name: str
    identity: str
    count: _Count


class _Steps(_Strict):
    rule: str
    first_step: _Count
    last_step: _Count


class _Soup(_Strict):
    rule: str
    of: list[dict[str, Any]]


class _WiSE(_Soup):
    alpha: float


class _Part(_Strict):
    method: str
    share: float = 1.0
    selection: Rule = "last"
    options: dict[str, Any]
    averaged: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; the old file stays until the new one is complete."""
    content = _canonical({"format": FORMAT} | {name: getattr(checkpoint, name) for name in _FILE_FIELDS})
    atomic_write(path, lambda stream: torch.save(content, stream))


def _canonical(value: Any) -> Any:
    """Equal values that become equal bytes, so that a resumed run's file has the hash of one that never stopped.

    Pickle writes an object once and refers to it afterwards, and which equal strings, lists and dictionaries are one
    object depends on where they came from.
    """
    match value:
        case str():
            return sys.intern(str(value))
        case list() | tuple():
            return type(value)(map(_canonical, value))
        case dict():
            made = type(value)((_canonical(key), _canonical(entry)) for key, entry in value.items())
            if fields := getattr(value, "__dict__", None):  # of a state dict, which versions its modules have
                made.__dict__.update(_canonical(fields))
            return made
    return value


def save_portable(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically what `load_checkpoint` reads again of a checkpoint, less what only training needs."""
    tensors = ("model", "method", "optimizer", "rng", "average")
    plain = [name for name in _FILE_FIELDS if name not in (*tensors, "log_bytes")]
    fields = {"format": FORMAT} | {name: getattr(checkpoint, name) for name in plain}
    atomic_write(path, lambda stream: stream.write(portable_bytes(fields, checkpoint.model)))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours: a ``.pt`` file, or a safetensors file of ``csg-train export``.

    Raises:
        UserError: The file is missing, cut, damaged, foreign, or of another format version.
    """
    if path.is_dir():
        inside = (path / name for name in ("ckpt.pt", "average.pt", "model.safetensors"))
        there = next((file for file in inside if file.is_file()), None)
        fix = f"give the checkpoint in it, {there}" if there else "give a checkpoint of csg-train run"
        raise UserError(f"{path}: a folder; {fix}")
    try:
        content, digest = read_hashed(path, _content)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint{absent(path)}; train one with csg-train run") from error
    except Exception as error:  # torch raises many types for cut and foreign files
        raise machine_fault(path, error) or UserError(
            f"{path}: not a complete checkpoint of csg-train ({unreadable(path, error)}); train again or restore it"
        ) from error
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if not isinstance(content, dict) or not isinstance(found, str) or found != FORMAT:
        shown = repr(found) if isinstance(found, str | None) else type(found).__name__
        by = written_by(content.get("versions")) if isinstance(content, dict) else ""
        raise UserError(
            f"{path}: not a checkpoint of csg-train (format {shown}, expected {FORMAT!r}){by}; "
            "weights of others are measured by csg-analyze energy --model NAME:FILE --images FOLDER"
        )
    if missing := [name for name in _FILE_FIELDS if name not in content and name not in _LATER_FIELDS]:
        raise UserError(f"{path}: incomplete checkpoint, without {', '.join(missing)}")
    fields = {name: content[name] for name in _FILE_FIELDS if name in content}
    _check_fields(fields, path)
    parts = (part for part in fields.get("averaged", {}).get("of", ()) if part.get("share", 1))
    rules = [part.get("selection", "last") for part in parts]  # an earlier version called their mean "last"
    fields["selection"] = max((fields.get("selection", "last"), *rules), key=RULES.index)
    return Checkpoint(**fields, sha256=digest, path=path)


def _content(path: Path) -> Any:
    return portable_content(path) if is_safetensors(first_bytes(path)) else load_tensors(path)


def _check_fields(fields: dict[str, Any], path: Path) -> None:
    for name, value in fields.items():
        _check(functools.partial(_TYPES[name].validate_python, value), name, path)
    if lacking := [key for key in ("name", "identity", "count") if key not in fields["data"]]:
        raise UserError(f"{path}: damaged checkpoint, its data lack {', '.join(lacking)}; restore it")
    _check(functools.partial(_Data.model_validate, fields["data"]), "data", path)
    if averaged := fields.get("averaged"):
        kind = _Steps if "of" not in averaged else _WiSE if averaged.get("rule") == "wise-ft" else _Soup
        _check(functools.partial(kind.model_validate, averaged), "averaged", path)
        for part in averaged.get("of", ()):
            _check(functools.partial(_Part.model_validate, part), "averaged.of", path)
    try:
        if fields["optimizer"]:  # an imported file has neither
            torch.Generator().set_state(fields["rng"][0])
    except (IndexError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: damaged checkpoint, no state of torch's generator; restore it") from error


def _check(validate: Callable[[], object], name: str, path: Path) -> None:
    try:
        validate()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise UserError(f"{path}: damaged checkpoint ({where}: {first['msg']}); restore it") from error


@contextlib.contextmanager
def _no_lost_parts() -> Iterator[None]:
    """Complex numbers where real ones belong are an error; torch would drop a part of them with a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Casting complex values", UserWarning)
        yield


def load_state(module: torch.nn.Module, state: dict[str, Tensor], origin: Path) -> None:
    """Load a state dict strictly; differences are named.

    Raises:
        UserError: Names or shapes differ.
    """
    own = module.state_dict()
    if odd := [
        name
        for name, value in state.items()
        if name in own and value.shape == own[name].shape and not fits(value, own[name])
    ]:
        kind = str(state[odd[0]].dtype).removeprefix("torch.")
        raise UserError(f"{origin}: damaged checkpoint, {odd[0]} is of {kind}; restore it")
    try:
        with _no_lost_parts():
            module.load_state_dict(state)
    except (RuntimeError, KeyError, TypeError, AttributeError, UserWarning) as error:
        raise UserError(f"{origin}: does not fit this recipe's {type(module).__name__} ({error})") from error


def load_optimizer(optimizer: optim.Optimizer, state: dict[str, Any], origin: Path) -> None:
    """Load an optimiser's state strictly: its groups have the fields of ours, each buffer the shape of its weight.

    Raises:
        UserError: They do not.
    """
    own = [group.keys() for group in optimizer.param_groups]
    try:
        with _no_lost_parts():
            optimizer.load_state_dict(state)
        fits = [group.keys() for group in optimizer.param_groups] == own and all(
            value is None or value.shape == (() if name == "step" else weight.shape)
            for weight, values in optimizer.state.items()
            for name, value in values.items()
        )
        if isinstance(optimizer, optim.AdamW):
            fits &= all(values.keys() == {"step", "exp_avg", "exp_avg_sq"} for values in optimizer.state.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, UserWarning) as error:
        raise UserError(f"{origin}: optimiser state does not fit ({error}); use --overwrite") from error
    if not fits:
        raise UserError(f"{origin}: optimiser state does not fit; use --overwrite")


_CHOSEN = {"oracle": "CHOSEN ON THE TARGET by oracle", "source-val": "chosen by source-val"}


def rule_title(checkpoint: Checkpoint) -> str:
    """Which step a checkpoint is and who chose it, for the title of a table."""
    planned, chosen = checkpoint.recipe["train"]["steps"], _CHOSEN.get(checkpoint.selection)
    if checkpoint.averaged:
        return average_title(checkpoint.averaged) + (f", steps {chosen}" if chosen else "")
    if chosen:
        return f"the step {chosen} ({checkpoint.step})"
    if checkpoint.step < planned:  # a snapshot, or the run was interrupted
        return f"step {checkpoint.step} of {planned}"
    return f"the last step ({checkpoint.step})"


@ordinary_tensors()
@torch.inference_mode(False)  # whose weights would have no gradient, for GradCAM
def load_network(path: Path | str, *, device: torch.device | str = "auto") -> TaskNetwork:
    """The trained network of a checkpoint file, in evaluation mode.

    Args:
        path: Of a ``.pt`` file of ours, loaded with ``weights_only=True``, or of an exported ``.safetensors``.
        device: Where to; ``auto`` is the GPU where there is one.

    Returns:
        Called with pictures ``(N, 3, H, W)``, uint8 or in [0, 1], it gives ``logits``, ``stages`` and
        ``imagenet_logits``.

    Raises:
        UserError: No such file, not a checkpoint of ours, or a device that is not there.
    """
    return load_checkpoint(Path(path)).build_network(usable_device(device))
