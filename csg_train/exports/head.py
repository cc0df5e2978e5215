"""The classifier on a backbone: of the paper's two layers no constructor of a library has it, of one it may."""

import copy
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn

from csg_train.errors import UserError
from csg_train.exports.subject import Subject

__all__ = ["HEAD", "INSTEAD", "MODEL", "head_code", "linear_head", "loaded_head", "save_parts", "strictly"]

MODEL, HEAD = "model.safetensors", "head.safetensors"
INSTEAD = "use safetensors, onnx or torch-export"


def linear_head(subject: Subject) -> nn.Linear | None:
    """The head of a classification where it is one layer."""
    layers = [] if subject.masked else list(subject.network.head.children())
    return layers[0] if len(layers) == 1 and isinstance(layers[0], nn.Linear) else None


def head_code(subject: Subject) -> str:
    """Python that makes the head."""
    layers = (
        f"nn.Linear({layer.in_features}, {layer.out_features})" if isinstance(layer, nn.Linear) else "nn.ReLU()"
        for layer in subject.network.head.children()
    )
    return f"nn.Sequential({', '.join(layers)})"


def loaded_head(subject: Subject, folder: Path) -> nn.Module:
    """The head, read from its file."""
    made = copy.deepcopy(subject.network.head)
    made.load_state_dict(load_file(folder / HEAD))
    return made


def save_parts(folder: Path, model: dict[str, Tensor], head: nn.Module | None) -> None:
    """Write `MODEL` and, where it is a file of its own, `HEAD`."""
    for path, state in ((folder / MODEL, model), (folder / HEAD, head.state_dict() if head else {})):
        if state:
            data = save({name: value.contiguous() for name, value in state.items()}, {"format": "pt"})
            path.write_bytes(data)  # save_file's error of a full disk is no OSError


def strictly(
    state: dict[str, Tensor], library: nn.Module, *, left_out: tuple[str, ...], what: str
) -> dict[str, Tensor]:
    """The tensors that a library's network takes, every one of them, by its names.

    Args:
        state: Of the checkpoint, under the library's names.
        library: As its constructor makes it.
        left_out: How names may begin that ``library`` does not have.
        what: Names format and network in the error.

    Raises:
        UserError: A tensor is missing, of another shape, or has no place.
    """
    own = library.state_dict()
    fits = own.keys() <= state.keys() and all(own[name].shape == state[name].shape for name in own)
    if not fits or not all(name.startswith(left_out) for name in state.keys() - own.keys()):
        raise UserError(f"{what} (a method may have rewritten it); {INSTEAD}")
    return {name: state[name] for name in own}
