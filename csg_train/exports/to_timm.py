"""For timm: what ``timm.create_model`` loads strictly, the backbone with the head beside it.

A linear head takes the place of timm's own classifier, where timm puts that on the same pooled map.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import normalize

from csg_train.errors import UserError
from csg_train.exports.head import HEAD, INSTEAD, head_code, linear_head, loaded_head, save_parts, strictly
from csg_train.exports.subject import Subject

__all__ = ["load", "usage", "write"]


def write(subject: Subject, folder: Path, _pictures: list[Tensor]) -> dict[str, Any]:
    """Write the files; returns what ``config.json`` says otherwise.

    Raises:
        UserError: timm has no such network.
    """
    name, data = subject.architecture, subject.recipe.data
    if subject.masked or name not in timm.list_models():
        raise UserError(f"--format timm: it has no {'segmentations' if subject.masked else name}; {INSTEAD}")
    library: Any = timm.create_model(name, num_classes=0)
    own = library.pretrained_cfg
    classifiers = [own["classifier"]] if isinstance(own["classifier"], str) else own["classifier"] or []
    left_out = tuple(f"{place}." for place in classifiers)
    what = f"--format timm: the network is not its {name}"
    state = strictly(subject.network.backbone.net.state_dict(), library, left_out=left_out, what=what)
    _require_the_heads_map(subject, library)
    count = len(subject.classes) if _whole(subject) else 0
    if count:
        head = subject.network.head.state_dict()
        state |= {f"{classifiers[0]}.{name.removeprefix('0.')}": value for name, value in head.items()}
    save_parts(folder, state, None if count else subject.network.head)
    config = {key: own[key] for key in ("first_conv", "classifier")}
    config |= {"mean": subject.mean, "std": subject.std, "input_size": [3, data.size, data.size], "num_classes": count}
    config |= {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center" if data.fit == "crop" else "border"}
    return {"num_classes": count, "num_features": library.num_features, "pretrained_cfg": config}


@torch.no_grad()
def _whole(subject: Subject) -> bool:
    """Whether timm's own classifier is the head's equal: one layer, and nothing but the mean before it."""
    if (head := linear_head(subject)) is None:
        return False
    library: Any = timm.create_model(subject.architecture, num_classes=head.out_features).eval()
    if not isinstance(last := library.get_classifier(), nn.Linear) or last.weight.shape != head.weight.shape:
        return False
    map_1CHW = torch.rand(1, head.in_features, 3, 4, generator=torch.Generator().manual_seed(0))
    return torch.allclose(library.forward_head(map_1CHW), last(map_1CHW.mean((2, 3))), atol=1e-5)


@torch.no_grad()
def _require_the_heads_map(subject: Subject, library: Any) -> None:
    """The head takes the last stage; timm may norm it, go on from it, give tokens, or take pictures of one size."""
    picture_1CHW = torch.zeros(1, 3, subject.recipe.data.size, subject.recipe.data.size)
    stage = list(subject.network.backbone(picture_1CHW).stages.values())[-1]
    try:
        given = f"a map {tuple(library.eval().forward_features(picture_1CHW).shape[1:])}"
    except (AssertionError, RuntimeError) as error:  # of another size than it was made for
        given = str(error).split("\n", 1)[0]
    if given != f"a map {tuple(stage.shape[1:])}":
        raise UserError(
            f"--format timm: the head takes a map {tuple(stage.shape[1:])}, and {subject.architecture}'s "
            f"forward_features gives {given}; {INSTEAD}"
        )


def load(subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
    """From pictures to logits, as `usage` says."""
    net: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    own = net.pretrained_cfg
    if net.num_classes:
        return lambda images: net(normalize(images, own["mean"], own["std"]))
    head = loaded_head(subject, folder)

    def logits(images: Tensor) -> Tensor:
        made: Tensor = head(net.forward_features(normalize(images, own["mean"], own["std"])).mean((2, 3)))
        return made

    return logits


def usage(subject: Subject) -> list[str]:
    """Lines of Python that define ``logits``, run in the folder."""
    if _whole(subject):
        return [
            "import timm, torch",
            "",
            'net = timm.create_model("local-dir:.", pretrained=True).eval()',
            f"mean, std = torch.tensor({subject.mean}), torch.tensor({subject.std})",
            "",
            "def logits(images):  # (N, 3, H, W), RGB in [0, 1]",
            "    return net((images - mean[:, None, None]) / std[:, None, None])",
        ]
    return [
        "import timm, torch",
        "from safetensors.torch import load_file",
        "from torch import nn",
        "",
        'net = timm.create_model("local-dir:.", pretrained=True).eval()  # the backbone alone',
        f"head = {head_code(subject)}",
        f'head.load_state_dict(load_file("{HEAD}"))',
        f"mean, std = torch.tensor({subject.mean}), torch.tensor({subject.std})",
        "",
        "def logits(images):  # (N, 3, H, W), RGB in [0, 1]",
        "    normalised = (images - mean[:, None, None]) / std[:, None, None]",
        "    return head(net.forward_features(normalised).mean((2, 3)))",
    ]
