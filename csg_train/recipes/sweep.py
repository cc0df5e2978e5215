"""Sweeps: every combination of named variations of one recipe, in a fixed order, resumable and divisible.

A sweep is a YAML file::

    recipe: emoji-photos
    vary:
      source:
        openmoji: ['data.source.domains=["emoji:openmoji"]']
        noto: ['data.source.domains=["emoji:noto"]']
      method:
        baseline: [method.name=baseline]
        csg: [method.name=csg]
      seed:
        s0: [seed=0]
        s1: [seed=1]

Each leaf is a list of ``key=value`` overrides, as after ``--set``; the folder of a run is the names joined by ``-``.
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from csg_train.errors import UserError, within
from csg_train.names import absent
from csg_train.recipes.faults import differences, in_words
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.sections import Recipe
from csg_train.splits import SCORES
from csg_train.yaml_files import read_yaml

__all__ = ["Planned", "load_sweep", "shard"]

_RUNS = 10_000
_TAIL = 1 << 16  # bytes, more than a row of a log: a long run's has tens of megabytes
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Sweep(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    vary: Annotated[dict[_Name, Annotated[dict[_Name, list[str]], Field(min_length=1)]], Field(min_length=1)]


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: its folder's name and its resolved recipe."""

    name: str
    recipe: Recipe

    def finished(self, out: Path, split: str = "target") -> bool:
        """Whether the run's folder holds this recipe, trained to the end and measured on ``split``.

        Raises:
            UserError: The folder holds a run of another recipe.
        """
        folder = out / self.name
        saved = folder / "recipe.yaml"
        if saved.exists() and (changed := differences(load_recipe(str(saved)).as_run(), self.recipe.as_run())):
            shown = "; ".join(changed[:3])
            raise UserError(f"{folder}: holds a run of another recipe ({shown}); remove it or choose another --out")
        measured = any(self._is_measured(folder / f"{kind}-{split}.json") for kind in SCORES)
        return saved.exists() and measured and not self._interrupted(folder / "log.jsonl")

    def _is_measured(self, record: Path) -> bool:
        """Whether the record is there and, where no rule chose its step, of the last: a run may go on after it."""
        try:
            step = json.loads(record.read_bytes())["run"]["step"]
            return self.recipe.evaluate.select != "last" or bool(step == self.recipe.train.steps)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the report says what is wrong
            return True

    def _interrupted(self, log: Path) -> bool:
        """Whether the log says that steps are left: such a run may have been measured by hand."""
        try:
            with log.open("rb") as stream:
                stream.seek(max(0, log.stat().st_size - _TAIL))
                line = stream.read().rstrip(b"\n").rsplit(b"\n", 1)[-1]
            return bool(line) and json.loads(line)["step"] < self.recipe.train.steps
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the run that goes on says what is wrong
            return True


def load_sweep(path: Path) -> list[Planned]:
    """Read a sweep file and resolve every run; a fault in any of them is found before the first starts.

    Raises:
        UserError: Not a sweep file, or an override that its recipe refuses.
    """
    try:
        sweep = _Sweep.model_validate(read_yaml(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{absent(path)}; give a sweep file") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])).removesuffix(".[key]")
        said = ": ".join(filter(None, (where, in_words(first))))
        raise UserError(f"{path}: {said}; a sweep has the keys recipe and vary") from error
    if (count := math.prod(map(len, sweep.vary.values()))) > _RUNS:
        raise UserError(f"{path}: {count} runs, more than {_RUNS}; divide it into several files")
    runs: dict[str, Recipe] = {}
    for choice in itertools.product(*(options.items() for options in sweep.vary.values())):
        name, overrides = "-".join(name for name, _ in choice), [one for _, own in choice for one in own]
        keys = Counter(override.partition("=")[0].strip() for override in overrides)
        if twice := [key for key, count in keys.items() if count > 1]:
            raise UserError(f"{path}: {name}: {twice[0]} is set twice, and the last would win; set it in one place")
        if name in runs:
            raise UserError(f"{path}: two runs are both called {name}; rename one of the variations")
        with within(f"{path}: {name}"):
            runs[name] = load_recipe(sweep.recipe, overrides)
    _require_different(path, runs)
    return [Planned(name, recipe) for name, recipe in runs.items()]


def _require_different(path: Path, runs: Mapping[str, Recipe]) -> None:
    """Refuse one run under two names: it would count as two."""
    known: dict[str, str] = {}
    for name, recipe in runs.items():
        if (other := known.setdefault(recipe.model_dump_json(), name)) != name:
            raise UserError(f"{path}: {other} and {name} are the same run; change what they set, or remove one")


def shard(runs: list[Planned], text: str) -> list[Planned]:
    """The i-th of n parts, dealt in turn, for ``text`` = ``i/n`` with 1 <= i <= n.

    Raises:
        UserError: Not of that form.
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and len(text) < 20 and 1 <= int(part) <= int(parts)):
        raise UserError(f"--shard {text}: expected i/n with 1 <= i <= n, for instance 2/8")
    return runs[int(part) - 1 :: int(parts)]
