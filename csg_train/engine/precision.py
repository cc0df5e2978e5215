"""The arithmetic of training, as a recipe's ``train`` asks: TF32, bfloat16 networks, compiled backbones, repeatability.

Only networks change: weights, losses, penalties and the queue stay float32, and so does everything that is measured
(`csg_train.devices.full_float32`).
"""

import contextlib
import dataclasses
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from csg_train.devices import arithmetic
from csg_train.errors import UserError
from csg_train.models.backbones import Backbone, Features
from csg_train.recipes.sections import Train

__all__ = ["InBfloat16", "compile_backbone", "require_arithmetic", "training_arithmetic"]

_GRAPHS = 4
"""Of a block: with gradients, without, and of batches of another size."""
_WORKSPACE, _REPEATS = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""What products need that repeat; torch reads it once, at the first product of a process on a GPU."""


@contextlib.contextmanager
def training_arithmetic(train: Train, device: torch.device) -> Iterator[None]:
    """Compute within the block as the recipe's ``train.precision`` and ``train.deterministic`` say.

    On a GPU cuDNN times its algorithms once for each shape, and shapes are fixed while training; with ``deterministic``
    it does not, and what torch cannot repeat is refused. A CPU repeats its results in any case, and has no TF32.

    Raises:
        UserError: ``deterministic``, and an operation that torch cannot repeat.
    """
    repeat = train.deterministic and device.type == "cuda"
    if repeat:
        os.environ.setdefault(_WORKSPACE, _REPEATS)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with (
        _own_compilations() if train.compile else contextlib.nullcontext(),
        arithmetic(tf32=train.precision == "tf32", benchmark=not train.deterministic, deterministic=repeat),
    ):
        torch.use_deterministic_algorithms(repeat or before[0], warn_only=before[1] and not repeat)
        try:
            yield
        except RuntimeError as error:
            if repeat and _WORKSPACE in str(error):
                raise UserError(
                    f"train.deterministic: this process has used the GPU without it; train in a new one, or set the "
                    f"environment's {_WORKSPACE}={_REPEATS} before its start"
                ) from error
            if repeat and "deterministic" in str(error):
                line = str(error).splitlines()[0]
                raise UserError(f"train.deterministic: not possible with this recipe ({line}); set it false") from error
            raise
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextlib.contextmanager
def _own_compilations() -> Iterator[None]:
    """Give back at the end what torch would keep as long as the process: what it compiled, and how much it may."""
    import torch._dynamo.config as dynamo  # not before it is needed: it takes seconds

    limit = dynamo.recompile_limit
    try:
        yield
    finally:
        dynamo.recompile_limit = limit
        torch._dynamo.reset()


def require_arithmetic(train: Train, device: torch.device) -> None:
    """Refuse TF32 and CUDA graphs where there are none: the run would say that it was trained so.

    Raises:
        UserError: It is.
    """
    if train.precision == "tf32" and not _has_tf32(device):
        raise UserError(f"train.precision tf32: {device} has no TF32; use float32, or an NVIDIA GPU of 2020 or later")
    if train.cuda_graphs and device.type != "cuda":
        raise UserError(f"train.cuda_graphs: {device} has none; set it false, or use a GPU")


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device)[0] >= 8


class InBfloat16:
    """Within its blocks networks compute in bfloat16 where autocast holds it safe, and give float32.

    Each call casts the weights anew: of two calls in one step, the gradients meet in float32.

    Args:
        networks: Their ``forward`` is replaced once, for good; outside of a block it computes as before.
        device: Where they are.
        gradients: Also in passes with gradients; else those compute as before.
    """

    def __init__(self, networks: Iterable[nn.Module], device: torch.device, *, gradients: bool = True) -> None:
        self._device, self._gradients, self._entered = device.type, gradients, False
        for network in networks:
            # weakly: a network that its own forward holds would stay until the next collection of cycles
            network.forward = self._lowered(weakref.WeakMethod(network.forward))

    def __enter__(self) -> None:
        self._entered = True

    def __exit__(self, *_error: object) -> None:
        self._entered = False

    def _lowered(self, own: weakref.WeakMethod[Callable[[Tensor], Any]]) -> Callable[[Tensor], Any]:
        def lowered(images_NCHW: Tensor) -> Any:
            forward = own()
            assert forward is not None
            if not self._entered or (torch.is_grad_enabled() and not self._gradients):
                return forward(images_NCHW)
            with torch.autocast(self._device, dtype=torch.bfloat16, cache_enabled=False):
                return _float32(forward(images_NCHW))

        return lowered


def _float32(result: Any) -> Any:
    if isinstance(result, Features):
        once = {id(map_NCHW): map_NCHW.float() for map_NCHW in result.stages.values()}  # a stage may have two names
        stages = {name: once[id(map_NCHW)] for name, map_NCHW in result.stages.items()}
        return dataclasses.replace(result, stages=stages, imagenet_logits=result.imagenet_logits.float())
    return result.float()


def compile_backbone(backbone: Backbone, *, graphs: bool = False) -> None:
    """``torch.compile`` the backbone's blocks in place; the first step of each takes minutes, later ones less.

    Blocks are the largest modules that no stage lies inside of: stages are read by hooks, which a compiled module would
    pass over. With ``graphs`` torch captures each block's passes as CUDA graphs: what they give is valid until the
    next ``torch.compiler.cudagraph_mark_step_begin``.
    """
    import torch._dynamo.config as dynamo  # not before it is needed: it takes seconds

    blocks = [*_blocks(backbone.net, [backbone.stage(name) for name in backbone.stage_paths])]
    dynamo.recompile_limit += _GRAPHS * len(blocks)  # for all together; what is beyond it torch would run eagerly
    for block in blocks:
        # not dynamic: blocks share their code, and torch would take the next one's size for a changed one of the last
        block.forward = torch.compile(block.forward, mode="reduce-overhead" if graphs else None, dynamic=False)


def compile_fault(error: Exception) -> UserError | None:
    """What to raise where torch could not compile; None where ``error`` is of something else."""
    if not type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
        return None
    reason = str(error).strip().split("\n", 1)[0]
    return UserError(
        f"train.compile: torch cannot compile here ({reason}); install a C++ compiler (on a GPU Triton too), or set it "
        "false"
    )


def _blocks(module: nn.Module, stages: list[nn.Module]) -> Iterator[nn.Module]:
    for child in module.children():
        inside = {id(part) for part in child.modules() if part is not child}
        if any(id(stage) in inside for stage in stages):
            yield from _blocks(child, stages)
        elif inside:
            yield child
