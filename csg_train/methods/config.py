"""What the fields of every method share."""

from pydantic import ConfigDict

__all__ = ["STRICT"]

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""No other keys, and no number that is not finite."""
