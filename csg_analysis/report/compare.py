"""What may stand side by side: the fields in which runs must agree, and what happens where they do not."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csg_analysis.report.died import death_notices
from csg_analysis.report.load import Run, repeated
from csg_analysis.report.unlabelled import unknown_score
from csg_analysis.report.wording import input_size
from csg_train.errors import UserError
from csg_train.runs.records import AccuracyRecord, ChoosingRecord, DataInfo, EnergyRecord
from csg_train.splits import SELECTED_ON

__all__ = ["Comparison", "check_comparable", "check_same_target", "gallery_setting", "notices", "unmeasured_notices"]

_GALLERY = "GradCAM"
_MASKS = "predicted masks of"
_MEASURED = (
    *("task", "target pictures", "input size", "selection rule"),
    *("energy layer and pool", "rule for coincident pairs", "flip averaging"),
)


@dataclass(frozen=True)
class Comparison:
    """Which runs are comparable.

    Attributes:
        group: Letter of each run's group by run name; all empty when every run is comparable with every other.
        differing: Fields in which the runs differ, with ``value: runs`` lines; empty unless mixing was allowed.
    """

    group: Mapping[str, str]
    differing: Mapping[str, tuple[str, ...]]


def _shown(data: DataInfo) -> str:
    return f"{data.name}, {data.count} pictures, {_identity(data.identity)}"


def _identity(identity: str) -> str:
    return f"identity {identity[:12]} (names, labels, file sizes)"


def _settings(run: Run) -> Iterator[tuple[str, str]]:
    """Every ``(field, value)`` of a run that must be equal in all runs; a record that is missing has no say."""
    info, source = run.info, run.info.source
    yield "task", run.task
    yield "backbone", info.backbone
    yield "starting weights", info.weights[:12]
    yield "selection rule", info.selection
    if (steps := _steps(run)) is not None:
        yield f"training steps on {source}", steps
    yield f"source pictures of {source}", _identity(info.source_identity)
    measured = [record for one in (run, *run.along.values()) for record in one.measured]
    for record in measured:
        split = record.data.split
        name = "target pictures" if split == "target" else f"{split} pictures measured for {source}"
        if isinstance(record, ChoosingRecord) and run.chose_elsewhere:
            name = "pictures of choosing without labels (csg-analyze choose)"
        yield name, _shown(record.data)
        yield "input size", input_size(record.data)
    for record in measured:
        if isinstance(record, EnergyRecord):
            yield "energy layer and pool", f"{record.layer}, {record.pool} pool"
            yield "rule for coincident pairs", record.coincident_rule
    for record in measured:
        if isinstance(record, AccuracyRecord):
            yield "flip averaging", "on" if record.flip else "off"
    yield from _measure_settings(run)
    if run.attention is not None:
        yield f"{_GALLERY} pictures", _shown(run.attention.data)
        yield f"{_GALLERY} input size", input_size(run.attention.data)
        yield f"{_GALLERY} layer", run.attention.layer
        yield f"{_GALLERY} explained class", run.attention.explained
    for split, predicted in run.predicted.items():
        where = split if split == "target" else f"{split} pictures of {source}"
        yield f"{_MASKS} {where}", _shown(predicted.data)
        yield f"{_MASKS} {where}, input size", input_size(predicted.data)


def _measure_settings(run: Run) -> Iterator[tuple[str, str]]:
    for attended in run.attended.values():
        yield "attention layer", attended.layer
        yield "class that attention explains", attended.explained
        if attended.curves is not None:
            yield "steps of deletion and insertion", str(attended.curves.steps)
    for similar in run.similar.values():
        yield "similarity layer and pool", f"{similar.layer}, {similar.pool} pool"
        yield "weights that runs are compared with", similar.start[:12]
    for choosing in run.choosing.values():
        yield f"validation pictures measured for {run.info.source}", _shown(choosing.held_out)
        yield "layer of measures without labels", choosing.layer
        yield "runs chosen among", f"{len(choosing.together)}, {_digest(choosing.together)}"


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("".join(sorted(names)).encode()).hexdigest()[:12]


def _steps(run: Run) -> str | None:
    """Steps that a run was trained for; the one that a rule chose says nothing about it."""
    done, planned = run.info.step, run.planned_steps
    if run.info.selection in SELECTED_ON:
        return None if planned is None else str(planned)
    return str(done) if planned in (None, done) else f"{done} of {planned}"


def gallery_setting(run: Run, split: str | None = None) -> tuple[str, ...]:
    """What two runs must share to stand in one gallery: that of GradCAM, or of the predicted masks of a split."""
    what = _GALLERY if split is None else f"{_MASKS} {split}"
    return tuple(value for name, value in _settings(run) if name.startswith(what))


def check_comparable(runs: Sequence[Run], *, allow_mixed: bool) -> Comparison:
    """Compare the settings of all runs.

    With ``allow_mixed``, runs that differ get into groups with letters; averages and pairs stay within a group.

    Raises:
        UserError: The runs differ and ``allow_mixed`` is off, or two runs are the same method, source and seed.
    """
    differing = {name: found for name, found in _values(runs, _settings).items() if len(found) > 1}
    if differing and not allow_mixed:
        name, found = next(iter(differing.items()))
        more = f"; also differing: {', '.join(list(differing)[1:])}" if len(differing) > 1 else ""
        raise UserError(
            f"the runs are not comparable: {name}: {' / '.join(_lines(found))}{more}; "
            "give runs of one setting, measure them again with the same settings, or pass --allow-mixed to show groups"
        )
    fields = [name for name in differing if not name.startswith((_GALLERY, _MASKS))]
    lines = {name: tuple(_lines(found)) for name, found in differing.items()}
    while pair := _repeated(runs, group := _groups(runs, fields)):
        run, other = pair
        apart = [name for name in _recipes_apart(run, other) if name not in fields]
        what = f"{run.info.method}, source {run.info.source}, seed {run.info.seed}"
        if not apart:
            raise UserError(f"{run.folder}: the same run as {other.folder} ({what}); give only one of the two")
        if not allow_mixed:
            raise UserError(
                f"{run.folder}: differs from {other.folder} ({what}) in {', '.join(apart)} alone, not in its method; "
                "build two reports, or pass --allow-mixed to show groups"
            )
        fields += apart
        values = _values(runs, _recipe_fields)
        lines |= {name: tuple(_lines(values[name])) for name in apart}
    return Comparison(group, lines)


def check_same_target(runs: Sequence[Run], beside: Sequence[Run]) -> None:
    """Runs for scale may differ in how they were trained, never in what was measured and how.

    Raises:
        UserError: One differs from all of ``runs``.
    """
    allowed: dict[str, set[str]] = {}
    for run in runs:
        for name, value in _settings(run):
            allowed.setdefault(name, set()).add(value)
    for run in beside:
        for name, value in _settings(run):
            if name in _MEASURED and value not in allowed.get(name, {value}):
                raise UserError(f"{run.folder}: for scale, but its {name} ({value}) fits no method; measure it alike")


def _lines(found: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{value} ({_some(names)})" for value, names in found.items()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


def _groups(runs: Sequence[Run], fields: Sequence[str]) -> dict[str, str]:
    if not fields:
        return dict.fromkeys((run.name for run in runs), "")
    own = {run.name: {*_settings(run), *_recipe_fields(run)} for run in runs}
    keys = {name: tuple(sorted(pair for pair in pairs if pair[0] in fields)) for name, pairs in own.items()}
    order = {key: position for position, key in enumerate(dict.fromkeys(keys.values()))}
    return {name: _letters(order[key]) for name, key in keys.items()}


def _letters(position: int) -> str:
    return chr(ord("A") + position) if position < 26 else f"G{position + 1}"


def _repeated(runs: Sequence[Run], group: Mapping[str, str]) -> tuple[Run, Run] | None:
    return repeated(runs, lambda run: (group[run.name], run.info.method, run.config, run.pair))


def _recipe_fields(run: Run) -> Iterator[tuple[str, str]]:
    yield from _flat(_training_part(run))


def _recipes_apart(one: Run, other: Run) -> list[str]:
    return sorted({name for name, _ in {*_recipe_fields(one)} ^ {*_recipe_fields(other)}})


def _values(runs: Sequence[Run], facts: Callable[[Run], Iterable[tuple[str, str]]]) -> dict[str, dict[str, list[str]]]:
    """Of each field that runs have, its values and who has each."""
    values: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, value in facts(run):
            holders = values.setdefault(name, {}).setdefault(value, [])
            if run.name not in holders:
                holders.append(run.name)
    return values


def notices(runs: Sequence[Run]) -> list[str]:
    """What a reader should know about these runs although it does not forbid comparing them."""
    return [
        *filter(None, [unknown_score(runs)]),
        *death_notices(runs),
        *_infinite(runs),
        *_chosen_elsewhere(runs),
        *_chosen_on_the_target(runs),
        *_recipe_differences(runs),
        *_unfinished(runs),
    ]


def unmeasured_notices(names: Sequence[str]) -> Iterator[str]:
    """What a reader should know of runs that were begun and not measured."""
    if names:
        yield (
            f"Begun but not measured, so in no number here: {_some(names)}. Where a run stopped because its loss was "
            "not finite, its method's mean covers only the seeds that survived."
        )


def _infinite(runs: Sequence[Run]) -> Iterator[str]:
    names = [one.name for run in runs for one in (run, *run.along.values()) if _any_infinite(one)]
    if names:
        yield (
            f"Equal pictures make the energy of {_some(names)} infinite (rule for coincident pairs), so their methods "
            "have no mean of it and stand in no comparison of it. "
            "Measure all runs again with csg-analyze energy --coincident exclude, which leaves such pairs out."
        )


def _any_infinite(run: Run) -> bool:
    return any(None in record.mhe.values() for record in run.energy.values())


def _chosen_elsewhere(runs: Sequence[Run]) -> Iterator[str]:
    if names := [run.name for run in runs if run.chose_elsewhere]:
        yield (
            f"csg-analyze choose measured other pictures than the target of {_some(names)}: its measures are left out, "
            "for what they are worth is known of the target alone. csg-analyze choose without --target measures those."
        )


def _chosen_on_the_target(runs: Sequence[Run]) -> Iterator[str]:
    names = [run.name for run in runs if run.info.selection == "oracle"]
    if names:
        yield (
            f"The measured step was CHOSEN ON THE TARGET (selection rule oracle): {_some(names)}. "
            "Numbers on the target are then higher than an honest test gives."
        )


def _recipe_differences(runs: Sequence[Run]) -> Iterator[str]:
    for name, found in sorted(_values(runs, _recipe_fields).items()):
        if len(found) > 1:
            yield (
                f"The recipes differ in {name}: {' / '.join(_lines(found))}. "
                "A difference between methods may come from that."
            )


def _training_part(run: Run) -> dict[str, Any]:
    """The part of a recipe that should be equal for all methods.

    Data identity and weights are compared elsewhere; a field that is an option of the run makes it a row of its own.
    """
    skipped = {"data": {"source", "validation", "target", "size", "fit", "pasta"}, "model": {"weights", "backbone"}}
    skipped["segmentation"] = {"tile", "longest_side"}
    skipped["train"] = {"workers", "log_every", "save_every", "snapshots", "steps", "probe", "frozen"}
    if "augment" in run.info.options:  # PASTA or AugMix; RandAugment is none
        skipped["data"].add("augment")
    sections = {name: run.recipe[name] for name in skipped if isinstance(run.recipe.get(name), dict)}
    if "train" in sections:  # runs from before the field
        sections["train"] = {"optimizer": "sgd"} | sections["train"]
    return {
        name: {key: value for key, value in section.items() if key not in skipped[name]}
        for name, section in sections.items()
    }


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(value, default=str, ensure_ascii=False)


def _unfinished(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        if run.last_step is None:
            continue
        if run.planned_steps is not None and run.last_step < run.planned_steps:
            yield (
                f"{run.name}: the training log ends at step {run.last_step} of {run.planned_steps}. "
                "Continue with csg-train run --resume, then measure again."
            )
        if run.info.selection == "last" and run.last_step != run.info.step:
            yield (
                f"{run.name}: the records are of step {run.info.step}, the training log goes to step {run.last_step}. "
                "Measure again with csg-analyze when the training is done."
            )
