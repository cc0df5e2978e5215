"""For torchvision: a network that its own constructor loads strictly, and of a classification the head to put on it.

The classifier in the first file is the one that the starting weights came with, for the constructor has a place for it;
the head takes its place. A linear head is that classifier itself, and no file of its own. A segmentation is
``deeplabv3_NAME``, head and all; without the classifier.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torchvision
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize

from csg_train.errors import UserError
from csg_train.exports.head import HEAD, INSTEAD, MODEL, head_code, linear_head, loaded_head, save_parts, strictly
from csg_train.exports.subject import Subject

__all__ = ["load", "usage", "write"]


def _name(subject: Subject) -> str:
    masks = subject.recipe.segmentation
    name = subject.architecture if masks is None else f"deeplabv3_{subject.architecture}"
    there = name in torchvision.models.list_models()
    if not there or (masks is not None and (masks.head, masks.output_stride) != ("deeplab-v3", 8)):
        found = "" if masks is None else f" with the head {masks.head} at stride {masks.output_stride}"
        raise UserError(f"--format torchvision: it has no {name}{found}; {INSTEAD}")
    return name


def _options(subject: Subject) -> dict[str, Any]:
    if subject.masked:
        return {"weights_backbone": None, "num_classes": len(subject.classes)}
    return {"num_classes": len(subject.classes)} if linear_head(subject) else {}


def write(subject: Subject, folder: Path, _pictures: list[Tensor]) -> dict[str, Any]:
    """Write the files; returns what ``config.json`` says otherwise.

    Raises:
        UserError: torchvision has no such network.
    """
    name, network = _name(subject), subject.network
    library = torchvision.models.get_model(name, weights=None, **_options(subject))
    state, what = network.backbone.net.state_dict(), f"--format torchvision: the network is not its {name}"
    if subject.masked:
        state = {f"backbone.{key}": value for key, value in state.items()}
        state |= {f"classifier.{key}": value for key, value in network.head.state_dict().items()}
    if not subject.masked and network.backbone.spec.classifiers != ("fc",):
        raise UserError(f"--format torchvision: its {name} has no classifier fc, whose place the head takes; {INSTEAD}")
    if linear := linear_head(subject):
        state |= {f"fc.{key}": value for key, value in linear.state_dict().items()}
    state = strictly(state, library, left_out=("backbone.fc.",), what=what)
    save_parts(folder, state, None if subject.masked or linear else network.head)
    return {"architecture": name}


def load(subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
    """From pictures to logits, as `usage` says."""
    net = torchvision.models.get_model(_name(subject), weights=None, **_options(subject))
    net.load_state_dict(load_file(folder / MODEL))
    if not subject.masked:
        if linear_head(subject) is None:
            net.fc = loaded_head(subject, folder)
        net.eval()
        return lambda images: net(normalize(images, subject.mean, subject.std))
    net.eval()

    def logits(images: Tensor) -> Tensor:
        maps = net.classifier(net.backbone(normalize(images, subject.mean, subject.std))["out"])
        return F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=True)

    return logits


def usage(subject: Subject) -> list[str]:
    """Lines of Python that define ``logits``, run in the folder."""
    options = "".join(f", {key}={value}" for key, value in _options(subject).items())
    lines = [
        "import torch, torchvision",
        "from safetensors.torch import load_file",
        "from torch import nn",
        "",
        f'net = torchvision.models.get_model("{_name(subject)}", weights=None{options})',
        f'net.load_state_dict(load_file("{MODEL}"))',
        f"mean, std = torch.tensor({subject.mean}), torch.tensor({subject.std})",
    ]
    if not subject.masked and linear_head(subject) is None:
        lines += [f"net.fc = {head_code(subject)}", f'net.fc.load_state_dict(load_file("{HEAD}"))']
    lines += [
        "net.eval()",
        "",
        "def logits(images):  # (N, 3, H, W), RGB in [0, 1]",
        "    normalised = (images - mean[:, None, None]) / std[:, None, None]",
    ]
    if not subject.masked:
        return [*lines, "    return net(normalised)"]
    return [
        *lines,
        '    maps = net.classifier(net.backbone(normalised)["out"])',
        '    return nn.functional.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=True)',
    ]
