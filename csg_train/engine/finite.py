"""Numbers that are no longer finite: which, and from which step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from csg_train.errors import UserError
from csg_train.tensors import first_not_finite

__all__ = ["kept", "numbers_of", "require_finite_row", "require_finite_weights"]


def numbers_of(rows: Sequence[Mapping[str, float | Tensor]]) -> list[dict[str, float]]:
    """Rows of numbers, some still on a device, which is waited for once."""
    there = [value.double() for row in rows for value in row.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(there).tolist() if there else ())
    return [
        {name: next(numbers) if isinstance(value, Tensor) else float(value) for name, value in row.items()}
        for row in rows
    ]


def require_finite_row(
    row: Mapping[str, float], step: int, out: Path, saved: int | None, *, measured: str | None = None
) -> None:
    """Refuse a step whose loss is not finite.

    Args:
        row: What the step logs: the terms of the loss, and their sum as ``loss``.
        step: Its number.
        out: The run's folder.
        saved: Step of the run's last checkpoint; None when there is none.
        measured: What a rule calls the number that it measures after the step, if there is one in the row.

    Raises:
        UserError: It names the terms, and what can help.
    """
    infinite = {name: value for name, value in row.items() if not math.isfinite(value)}
    if not infinite:
        return
    terms = {name: value for name, value in infinite.items() if name != "loss"} or infinite
    shown = ", ".join(f"{name} is {value}" for name, value in terms.items())
    advice = _advice(set(terms), set(row) - {measured}, step)
    raise UserError(f"{out}: the loss is not finite at step {step} ({shown}); {advice}{kept(saved)}")


def _advice(terms: set[str], logged: set[str], step: int) -> str:
    own = logged - {"loss", "ce", "lr_factor"}
    if step == 1 and terms <= logged:  # before any update: no learning rate is at fault
        if "ce" in terms:
            return "no weight has moved yet, so check model.weights and train.precision"
        return "no weight has moved yet, so lower the method's weight, or put its other fields back"
    if "ce" in terms or not terms <= logged:
        return "lower train.lr_head or train.lr_backbone" + (", or the method's weight" if own else "")
    return "lower the method's weight, or train.lr_head and train.lr_backbone"


def require_finite_weights(network: nn.Module, step: int, out: Path, saved: int | None) -> None:
    """Refuse weights that nothing can continue from, before they are saved.

    Raises:
        UserError: It names the first such tensor.
    """
    if (name := first_not_finite(network.state_dict())) is not None:
        raise UserError(
            f"{out}: {name} is not finite after step {step}; lower train.lr_head, train.lr_backbone or the method's "
            f"weight{kept(saved)}"
        )


def kept(saved: int | None) -> str:
    """What of a run is on the disk, to end an error with; nothing where there is nothing."""
    return "" if saved is None else f"; the checkpoint of step {saved} is kept"
