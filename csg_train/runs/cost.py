"""``cost.json``: what a step of a run took, and on what; beside the log, for the report."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csg_train.errors import UserError
from csg_train.files import write_json

__all__ = ["COST", "Cost", "read_cost", "write_cost"]

COST = "cost.json"


class Cost(BaseModel):
    """Time and memory of training, of the first process of several; no result depends on them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["csg-cost/1"] = "csg-cost/1"
    method: str
    seed: int
    device: str
    """Model of the GPU or the CPU that computed."""
    threads: int
    """Of torch on the host."""
    processes: int
    steps: int
    """How many step times there are."""
    step_ms: float = Field(gt=0)
    """Milliseconds of a step, as ``definition`` says."""
    definition: str
    peak_bytes: int | None
    """Most memory at any time of the training; None where the system does not say."""
    memory: str
    """Which memory that is."""

    @property
    def machine(self) -> str:
        """What two runs must share for their times to be compared."""
        parts = [self.device, f"{self.threads} thread{'s' * (self.threads > 1)}"]
        return ", ".join([*parts, *([f"{self.processes} processes"] if self.processes > 1 else [])])


def write_cost(folder: Path, cost: Cost) -> None:
    """Write it into a run's folder, atomically."""
    write_json(folder / COST, cost.model_dump())


def read_cost(path: Path) -> Cost:
    """Read the file.

    Raises:
        UserError: It is unreadable or damaged.
    """
    try:
        return Cost.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{path}: not what a run says of its cost; remove it, the report does without") from error
