"""Weights from elsewhere into a backbone, strictly: the published ones, or a file's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csg_train.errors import UserError
from csg_train.files import read_hashed
from csg_train.models.backbones import Backbone, backbone_spec
from csg_train.models.timm_models import PREFIX, side_of_file
from csg_train.models.wrapping import found_below, unprefixed, unwrapped
from csg_train.names import absent
from csg_train.tensors import fits, load_tensors, machine_fault, unreadable

__all__ = ["build_backbone", "fitted_backbone", "load_weights", "require_sound"]


def build_backbone(name: str, weights: str | Path = "none") -> tuple[Backbone, str]:
    """A backbone by its name, with its own normalisation and input size, in evaluation mode.

    A file may hold a classifier of other classes than the published one: the classifier is then made of its size; or
    none: the backbone is then one without.

    Args:
        name: Of `BACKBONES`, ``timm/NAME``, or a classifier's in torchvision.
        weights: ``imagenet``, ``none`` (random) or the path of a state-dict file (``.pt``, ``.pth``, ``.safetensors``).

    Returns:
        The backbone, and the SHA-256 of the weights or ``"none"``.

    Raises:
        UserError: There is no such backbone, or the weights are missing or of another network.
    """
    backbone = Backbone(backbone_spec(name))
    if weights in ("imagenet", "none"):
        return backbone.eval(), load_weights(backbone, name, weights)
    content, digest = _read(Path(weights))
    state = _state_of(content, backbone, str(weights), name)
    _fit_classifier(backbone, state)
    _load_strict(backbone.net, _filled_up(backbone, state), str(weights), name)
    return backbone.eval(), digest


def fitted_backbone(
    name: str, state: Mapping[str, Tensor], origin: str
) -> tuple[Backbone, Mapping[str, Tensor], list[str]]:
    """A new backbone for a file's state dict, whose own classifier may be of other classes or missing.

    Args:
        name: Of the backbone.
        state: As it lies in the file.
        origin: Names the file in errors.

    Returns:
        The backbone, with random weights and a classifier of the file's size; the state dict under today's names; what
        the names of classifiers begin with that the file has not, or not for this network.

    Raises:
        UserError: There is no such backbone, or the names are those of something larger.
    """
    backbone = Backbone(backbone_spec(name))
    state = _named_as_today(state, backbone, origin, name)
    _fit_classifier(backbone, state)
    own = backbone.net.state_dict()
    fit = [key for key in own if isinstance(theirs := state.get(key), Tensor) and fits(theirs, own[key])]
    return backbone, state, [place for place in _places(backbone) if not any(key.startswith(place) for key in fit)]


def _fit_classifier(backbone: Backbone, state: Mapping[str, Tensor]) -> None:
    """Give the network's own classifier as many outputs as the file's has."""
    for path in backbone.spec.classifiers:
        own, theirs = backbone.net.get_submodule(path), state.get(f"{path}.weight")
        if isinstance(own, nn.Identity):  # the place of one, in a network that was published without
            own = nn.Linear(backbone.net.num_features, 1, bias=f"{path}.bias" in state)  # type: ignore[arg-type]
        if isinstance(theirs, Tensor) and (fitting := _classifier_like(own, theirs)):
            backbone.net.set_submodule(path, fitting.requires_grad_(False))
            backbone.classes = len(theirs)


def _classifier_like(own: nn.Module, theirs: Tensor) -> nn.Module | None:
    """A classifier with the outputs of another; None where what that takes is not what ours does."""
    if not isinstance(own, nn.Linear | nn.Conv2d) or theirs.shape[1:] != own.weight.shape[1:]:
        return None
    bias = own.bias is not None
    if isinstance(own, nn.Linear):
        return nn.Linear(own.in_features, len(theirs), bias=bias)
    return nn.Conv2d(own.in_channels, len(theirs), 1, bias=bias) if own.kernel_size == (1, 1) else None


def _places(backbone: Backbone) -> tuple[str, ...]:
    """What the names of the own classifier's tensors begin with."""
    return tuple(f"{path}." for path in backbone.spec.classifiers)


def _filled_up(backbone: Backbone, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state with zeros in the place of the network's own classifier where the file has none that fits.

    Such files have none (self-supervised training), a projection head, a classifier of other classes, or zeros already.
    The backbone then counts as one without a classifier, and nothing reads what it gives.
    """
    places = _places(backbone)
    own = {key: value for key, value in backbone.net.state_dict().items() if key.startswith(places)}
    if any(key in state and fits(state[key], value) and state[key].any() for key, value in own.items()):
        return state
    backbone.classes = 0
    rest = {key: value for key, value in state.items() if not key.startswith(places)}
    return rest | {key: torch.zeros_like(value) for key, value in own.items()}


def load_weights(backbone: Backbone, name: str, weights: str | Path) -> str:
    """Load starting weights into a backbone, strictly but for its own classifier: a file may have none or another.

    Args:
        backbone: To load into.
        name: Its name, for errors.
        weights: ``imagenet``, ``none``, or the path of a state-dict file, or of a checkpoint, whose head is left out.

    Returns:
        SHA-256 of the weights' file, or ``"none"``.

    Raises:
        UserError: The file is missing, not a plain state dict, or names or shapes differ.
    """
    if weights == "none":
        return "none"
    if weights == "imagenet":
        content, digest = backbone.spec.imagenet()
    else:
        content, digest = _read(Path(weights))
        content = _backbone_of(content)
    state = _state_of(content, backbone, str(weights), name)
    _load_strict(backbone.net, _filled_up(backbone, state), str(weights), name)
    return digest


def _backbone_of(content: Any) -> Any:
    """Of a checkpoint of ours, or of its export as safetensors, the backbone's tensors; anything else as it is."""
    state = content.get("model", content) if _is_ours(content) else content
    if not _is_whole(state):
        return content
    return {key.removeprefix("backbone.net."): value for key, value in state.items() if not key.startswith("head.")}


def _is_ours(content: Any) -> bool:
    """Whether it is a checkpoint of ours, or its export as safetensors."""
    return isinstance(content, Mapping) and (str(content.get("format")).startswith("csg-train/") or _is_whole(content))


def _is_whole(state: Any) -> bool:
    """Whether these are the names of a network of ours: of its backbone, and of its head."""
    names = [str(key) for key in state] if isinstance(state, Mapping) else []
    own = all(name.startswith(("backbone.net.", "head.")) for name in names)
    return own and any(name.startswith("backbone.net.") for name in names)


def _read(path: Path) -> tuple[Any, str]:
    """What a file holds, and its SHA-256."""
    try:
        return read_hashed(path, load_tensors)
    except FileNotFoundError as error:
        word = path.name.lower() if path.name.lower() in ("imagenet", "none") else None
        mend = f"write {word} in lower case, if that is meant" if word else "check model.weights or --model"
        raise UserError(f"{path}: no such weights file{absent(path)}; {mend}") from error
    except Exception as error:  # torch raises many types for foreign or cut files
        raise machine_fault(path, error) or UserError(f"{path}: {unreadable(path, error)}") from error


def _state_of(content: Any, backbone: Backbone, origin: str, name: str) -> Mapping[str, Tensor]:
    """The state dict in what a file holds, under the names that the network may have."""
    own = backbone.net.state_dict()
    if _is_ours(content):
        raise UserError(f"{origin}: a checkpoint of csg-train, not weights of a backbone; measure it without --model")
    library = "timm" if name.startswith(("tf_", PREFIX)) else "torchvision"
    imported = f"csg-train import {origin} --kind {library} --set model.backbone={name} --out NEW.pt"
    choice = f"choose one: {imported} --field NAME, then --weights NEW.pt or --model {name}:NEW.pt"
    state, _ = unwrapped(content, field=None, origin=origin, choice=choice)
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        fields = f" ({', '.join(map(str, list(state)[:5]))})" if isinstance(state, Mapping) else ""
        raise UserError(f"{origin}: holds a {type(state).__name__}{fields}, not a state dict of tensors")
    state = _named_as_today(state, backbone, origin, name)
    lacking = {key for key in own if key not in state and not key.startswith(_places(backbone))}
    if lacking and all(key.endswith(".num_batches_tracked") for key in lacking):
        raise UserError(f"{origin}: of an old torch, without {min(lacking)}; fill it in: {imported}")
    return state


def _named_as_today(state: Mapping[str, Tensor], backbone: Backbone, origin: str, name: str) -> Mapping[str, Tensor]:
    """A state dict without what its script put before every name, under the names that the network has today."""
    own = backbone.net.state_dict()
    state = unprefixed(state, own)
    if any(str(key).startswith("encoder_q.fc_new.") for key in state):
        raise UserError(
            f"{origin}: a checkpoint of CSG's released code, trained already; csg-train import {origin} --kind csg "
            "--out NEW.pt makes it one to measure"
        )
    if below := found_below(state, [key for key in own if not key.startswith(_places(backbone))]):
        prefix, others = below
        if others:
            raise UserError(
                f"{origin}: has {name} under names that begin with {prefix!r}, and {len(others)} others "
                f"({others[0]}); save it alone, each name without {prefix!r}"
            )
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return backbone.spec.adapt(state)


def _load_strict(net: nn.Module, state: Mapping[str, Tensor], origin: str, name: str) -> None:
    own = net.state_dict()
    shared = [key for key in own if key in state]
    kinds = (
        [f"missing {key}" for key in own if key not in state],
        [f"unexpected {key}" for key in state if key not in own],
        [_differs(key, state[key], own[key]) for key in shared if not fits(state[key], own[key])],
    )
    if count := sum(map(len, kinds)):  # the first of each kind: names that differ by what is before them show it
        firsts = [kind[0] for kind in kinds if kind]
        more = f" and {count - len(firsts)} more" if count > len(firsts) else ""
        side = side_of_file(net, state) if name.startswith(PREFIX) else None
        mend = (
            f"it was trained at {side} pixels: {name.partition('@')[0]}@{side}"
            if side
            else "give a file of that network"
        )
        raise UserError(f"{origin}: not weights of {name}: {'; '.join(firsts)}{more}; {mend}")
    require_sound({key: state[key].to(own[key].dtype) for key in own}, origin)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:  # a tensor of a kind of its own
        raise UserError(f"{origin}: not weights of {name} ({error})") from error


def require_sound(state: Mapping[str, Tensor], origin: str) -> None:
    """Refuse weights that no trained network has.

    Raises:
        UserError: Values are not finite, or a variance is negative.
    """
    if infinite := [key for key, value in state.items() if not value.isfinite().all()]:
        raise UserError(
            f"{origin}: {infinite[0]} holds values that are not finite ({len(infinite)} of {len(state)} tensors do); "
            "give weights of a run that did not diverge"
        )
    if negative := [key for key, value in state.items() if key.endswith(".running_var") and (value < 0).any()]:
        raise UserError(f"{origin}: {negative[0]}, a variance, holds negative values; give weights that are whole")


def _differs(key: str, given: Tensor, own: Tensor) -> str:
    if given.shape != own.shape:
        return f"{key} is {tuple(given.shape)}, not {tuple(own.shape)}"
    return f"{key} is {str(given.dtype).removeprefix('torch.')}, not {str(own.dtype).removeprefix('torch.')}"
