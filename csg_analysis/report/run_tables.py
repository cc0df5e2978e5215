"""The tables with a row a run: what each run measured, and where each number comes from."""

from collections.abc import Sequence

from csg_analysis.report import format as fmt
from csg_analysis.report.died import death
from csg_analysis.report.load import Run
from csg_analysis.report.rows import Row, on_target, wording
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.unlabelled import UNKNOWN, unknown_score
from csg_analysis.report.wording import Wording, capital, wording_of
from csg_train.runs.labels import average_title
from csg_train.runs.records import Interval
from csg_train.runs.snapshots import ALONG

__all__ = ["provenance_table", "run_table"]


def run_table(rows: Sequence[Row]) -> Table:
    """The target's numbers of every single run, each with its own interval."""
    cells, data, kinds = [], [], set[str]()
    words = wording(rows)
    for row in rows:
        for run in row.runs:
            cells.append(_run_cells(row, run))
            data.append(_run_data(row, run, words))
            kinds |= _kinds(run)
    columns = [
        Column("Run", numeric=False),
        Column("Method", numeric=False),
        Column("Source", numeric=False),
        Column("Seed"),
        Column("E₀", "mhe, target"),
        Column("E₁", "target"),
        Column("E₂", "target"),
        Column(capital(words.short), f"{words.unit}, target"),
        Column("Overall", f"{words.overall}, target"),
    ]
    notes = [f"Interval of a single run: {kind}." for kind in sorted(kinds)]
    notes.append("These measure the sampling of the test pictures, not the spread over training runs.")
    return Table("runs", "Every run on the target", columns, cells, data, notes)


def _kinds(run: Run) -> set[str]:
    found = set()
    if (energy := run.energy.get("target")) is not None:
        found |= {f"E_s, {interval.level:.0%} {interval.kind}" for interval in energy.interval.values()}
    if (score := run.scores.get("target")) is not None and score.interval is not None:
        found.add(f"{wording_of([run]).short}, {score.interval.level:.0%} {score.interval.kind}")
    return found


def _ends(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _run_cells(row: Row, run: Run) -> list[Cell]:
    energy, score = run.energy.get("target"), run.scores.get("target")
    name = Cell(run.name) if (how := death(run)) is None else Cell(run.name, note=f"died: {how}", tone="bad")
    cells = [name, Cell(row.label), Cell(run.info.source), Cell(str(run.info.seed), sort=run.info.seed)]
    for order in "012":
        value = None if energy is None else energy.mhe.get(order)
        note = "" if energy is None else fmt.between(_ends(energy.interval.get(order)), 3)
        cells.append(Cell(fmt.fixed(value, 3), sort=value, note=note))
    if score is None:
        return [*cells, *[Cell(UNKNOWN if unknown_score([run]) else fmt.DASH)] * 2]
    return [
        *cells,
        Cell(fmt.percent(score.score), score.score, note=fmt.between(_ends(score.interval), 1, scale=100)),
        Cell(fmt.percent(score.overall), score.overall),
    ]


def _run_data(row: Row, run: Run, words: Wording) -> dict[str, Value]:
    info = run.info
    data: dict[str, Value] = {"run": run.name, "row": row.label, "source": info.source, "seed": info.seed}
    if (how := death(run)) is not None:
        data["died"] = how
    if (energy := run.energy.get("target")) is not None:
        for order, value in energy.mhe.items():
            interval = energy.interval.get(order)
            data[f"e{order}_mhe"] = value
            data[f"e{order}_mhe_low"] = interval.low if interval else None
            data[f"e{order}_mhe_high"] = interval.high if interval else None
        data |= {f"e{order}_paper": value for order, value in energy.paper.items()}
        data |= {"pairs": energy.pairs, "coincident_pairs": energy.coincident}
    if (score := run.scores.get("target")) is not None:
        data[words.field] = 100 * score.score
        data[f"{words.field}_low"] = 100 * score.interval.low if score.interval else None
        data[f"{words.field}_high"] = 100 * score.interval.high if score.interval else None
        data["overall_percent"] = 100 * score.overall
    return data


def provenance_table(rows: Sequence[Row]) -> Table:
    """Where each run's numbers come from: recipe, configuration, checkpoint, data, record files, versions."""
    cells, data = [], []
    for row in rows:
        for run in row.runs:
            info = run.info
            facts = _facts(run)
            cells.append([Cell(run.name), *(Cell(_short(value, name), hint=value) for name, value in facts.items())])
            versions: dict[str, Value] = {f"version_{name}": version for name, version in sorted(info.versions.items())}
            data.append({"run": run.name, **facts, "backbone": info.backbone, "seed": info.seed, **versions})
    columns = [Column(name, numeric=False) for name in ("Run", *_FACTS)]
    notes = [
        "Checkpoint, starting weights and records are named by their SHA-256; data by an identity over class names, "
        "paths, labels and sizes of all files. Shortened here, whole in the CSV and JSON files.",
        *_versions(rows),
    ]
    return Table("provenance", "Where each run's numbers come from", columns, cells, data, notes)


_FACTS = (
    "Method",
    "Configuration",
    "Recipe",
    "Source",
    "Step",
    "Checkpoint",
    "Weights",
    "Source data",
    "Target data",
    "Records",
)


def _facts(run: Run) -> dict[str, str]:
    info = run.info
    target = sorted({data.identity for data in on_target(run)})
    return {
        "method": f"{info.method}, seed {info.seed}",
        "config": run.config,
        "recipe": info.recipe,
        "source": info.source,
        "step": f"{info.step} ({info.selection}{f'; {average_title(info.averaged)}' if info.averaged else ''})",
        "checkpoint_sha256": info.checkpoint_sha256,
        "weights_sha256": info.weights,
        "source_identity": info.source_identity,
        "target_identity": " ".join(target),
        "records": "\n".join(f"{name} {sha256}" for name, sha256 in run.files),
    }


def _short(value: str, name: str) -> str:
    if name == "records":
        lines = [line.split() for line in value.splitlines()]
        along = sum(line[0].startswith(f"{ALONG}/") for line in lines)
        shown = [f"{name} {sha256[:8]}" for name, *_, sha256 in lines if not name.startswith(f"{ALONG}/")]
        return "\n".join([*shown, *([f"{ALONG}/: {along} records"] if along else [])])
    if name.endswith(("sha256", "identity")):
        return " ".join(part[:12] for part in value.split()) or fmt.DASH
    return value


def _versions(rows: Sequence[Row]) -> list[str]:
    infos = [run.info for row in rows for run in row.runs]
    found = sorted({", ".join(f"{name} {version}" for name, version in sorted(i.versions.items())) for i in infos})
    backbones = sorted({info.backbone for info in infos})
    return [f"Backbone: {' / '.join(backbones)}. Versions: {' / '.join(found)}."]
