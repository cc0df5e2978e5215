"""Where to compute: a device by name, tried before it is used."""

import torch

from csg_train.errors import UserError

__all__ = ["usable_device"]


def usable_device(name: torch.device | str) -> torch.device:
    """The device of that name; ``auto`` is the GPU where there is one.

    Raises:
        UserError: It is not there, or torch has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from error
    return device
