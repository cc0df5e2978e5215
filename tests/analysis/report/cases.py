"""Run folders with made-up records, and the report's command, for the tests of the report."""

import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from click.testing import CliRunner, Result

from csg_analysis.report.build import build_report
from csg_analysis.report.cli import main
from csg_analysis.report.compare import check_comparable
from csg_analysis.report.load import load_runs
from csg_analysis.report.rows import make_rows
from csg_train.runs.records import (
    AccuracyRecord,
    Attended,
    AttentionRecord,
    DataInfo,
    EnergyRecord,
    Interval,
    PredictedPicture,
    PredictionsRecord,
    RunInfo,
    SegmentationRecord,
    write_record,
)
from csg_train.splits import Rule

METHODS = ("oracle", "baseline", "csg")
CLASSES = ["bird", "fish"]
E0 = {"oracle": -0.36, "baseline": -0.2, "csg": -0.4}
MEAN = {"rule": "swad", "first_step": 3, "last_step": 9, "count": 7}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_run(
    root: Path,
    method: str,
    seed: int = 0,
    *,
    right: int = 50,
    energy: float | None = None,
    source: str = "clean",
    classes: list[str] = CLASSES,
    attention: bool = True,
    step: int = 20,
    method_config: dict[str, object] | None = None,
    options: dict[str, object] | None = None,
    averaged: dict[str, object] | None = None,
    backbone: str = "resnet18",
    masks: bool = False,
    selection: Rule = "last",
    planned: int | None = None,
    **target: Any,
) -> Path:
    """One run folder; ``right`` of 100 pictures (with ``masks``, pixels) of each class are predicted right.

    ``planned`` steps are in the recipe, by default as many as were done.
    """
    folder = root / f"{source}-{method}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    run = RunInfo(
        recipe="tiny",
        method=method,
        method_config=method_config or {},
        options=options or {},
        averaged=averaged or {},
        seed=seed,
        backbone=backbone,
        weights=sha("weights"),
        source=source,
        source_identity=sha(source),
        step=step,
        selection=selection,
        checkpoint_sha256=sha(str(folder)),
        versions={"torch": "2.6.0"},
    )
    shown = {"size": None, "fit": "whole"} if masks else {"size": 32, "fit": "pad"}
    data = DataInfo(**({"split": "target", "name": "photos", "identity": sha("t"), "count": 200} | shown | target))
    (_write_segmentation if masks else _write_accuracy)(folder, run, data, right, classes)
    value = E0.get(method, -0.3) + 0.001 * seed if energy is None else energy
    _write_energy(folder, run, data, value)
    if attention:
        _write_attention(folder, run, data, classes)
    lines = [{"step": n, "lr_factor": 1.0, "loss": 2 / n, "ce": 2 / n} for n in range(1, step + 1)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = {"name": "tiny", "train": {"steps": planned or step, "lr_head": 0.1}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | ({"segmentation": {}} if masks else {})))
    return folder


def _write_segmentation(folder: Path, run: RunInfo, data: DataInfo, right: int, classes: list[str]) -> None:
    """Of two classes; of 100 right and 100 - right wrong in either, the union is 200 - right: IoU r / (200 - r)."""
    iou = right / (200 - right)
    record = SegmentationRecord(
        run=run,
        data=data,
        classes=classes,
        confusion=[[right, 100 - right], [100 - right, right]],
        per_class=[iou, iou],
        mean_iou=iou,
        overall=right / 100,
        interval=Interval(low=iou - 0.05, high=iou + 0.05, level=0.95, kind="bootstrap of pictures"),
    )
    write_record(folder / "segmentation-target.json", record)


def _write_accuracy(folder: Path, run: RunInfo, data: DataInfo, right: int, classes: list[str]) -> None:
    count = len(classes)
    confusion = [[right if i == j else (100 - right) // (count - 1) for j in range(count)] for i in range(count)]
    record = AccuracyRecord(
        run=run,
        data=data,
        classes=classes,
        confusion=confusion,
        flip=True,
        per_class=[right / 100] * count,
        mean_per_class=right / 100,
        overall=right / 100,
        interval=Interval(low=right / 100 - 0.05, high=right / 100 + 0.05, level=0.95, kind="bootstrap"),
    )
    write_record(folder / "accuracy-target.json", record)


def _write_energy(folder: Path, run: RunInfo, data: DataInfo, value: float) -> None:
    mhe = {"0": value, "1": 0.9, "2": 0.8}
    record = EnergyRecord(
        run=run,
        data=data,
        layer="layer4",
        pool="average",
        dim=512,
        pairs=19900,
        coincident=0,
        coincident_rule="exclude",
        paper=mhe | {"0": value / 2},
        mhe=mhe,
        interval={s: Interval(low=v - 0.01, high=v + 0.01, level=0.95, kind="jackknife") for s, v in mhe.items()},
        uniform={"0": -0.69, "1": 0.7, "2": 0.5},
    )
    write_record(folder / "energy-target.json", record)


def _write_attention(folder: Path, run: RunInfo, data: DataInfo, classes: list[str]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    maps = np.zeros((2, 16, 16), dtype=np.float32)
    maps[0, 3:8, 3:8] = 2.5
    np.savez(folder / "attention.npz", maps=maps, images=images)
    pictures = [
        Attended(file=f"{classes[0]}/a.png", label=classes[0], predicted=classes[0], target=classes[0], flat=False),
        Attended(file=f"{classes[1]}/b.png", label=classes[1], predicted=classes[0], target=classes[0], flat=True),
    ]
    record = AttentionRecord(
        run=run, data=data, layer="layer4", explained="predicted", arrays="attention.npz", pictures=pictures
    )
    write_record(folder / "attention.json", record)


def write_all(root: Path, right: dict[str, tuple[int, ...]], **changes: Any) -> Path:
    for method, values in right.items():
        for seed, value in enumerate(values):
            write_run(root, method, seed, right=value, **changes)
    return root


NO_DIFFERENCE = {"oracle": (57, 55, 56), "baseline": (50, 54, 52), "csg": (53, 50, 54)}
HELP = {"oracle": (50, 51, 52), "baseline": (50, 52, 54), "csg": (60, 63, 64)}


def rows_of(root: Path, *, allow_mixed: bool = False) -> list[Any]:
    loaded = load_runs([root])
    return make_rows(loaded, check_comparable(loaded, allow_mixed=allow_mixed))


def command(*arguments: object, name: str = "build") -> Result:
    return CliRunner().invoke(main, [name, *map(str, arguments)])


def refused(*arguments: object, name: str = "build") -> str:
    """The one line of a refusal."""
    result = command(*arguments, name=name)
    assert result.exit_code == 2, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1, result.output
    return lines[0]


def built_text(root: Path, out: Path, *, allow_mixed: bool = False) -> str:
    """What a reader sees of the page of these runs, which is written to ``out``."""
    return visible_text(build_report([root], out, allow_mixed=allow_mixed).read_text())


def table(out: Path, name: str) -> list[dict[str, Any]]:
    """The exact numbers of one table."""
    rows: list[dict[str, Any]] = json.loads((out / f"tables/{name}.json").read_text())["rows"]
    return rows


def visible_text(page: str) -> str:
    """Text of a page without tags, style and script, white space joined."""

    class Reader(HTMLParser):
        parts: list[str]
        skipping = False

        def handle_starttag(self, tag: str, _attributes: object) -> None:
            self.skipping = self.skipping or tag in ("style", "script")

        def handle_endtag(self, tag: str) -> None:
            self.skipping = self.skipping and tag not in ("style", "script")

        def handle_data(self, data: str) -> None:
            if not self.skipping:
                self.parts.append(data)

    reader = Reader()
    reader.parts = []
    reader.feed(page)
    return " ".join(" ".join(reader.parts).split())


def write_snapshot(folder: Path, step: int, energy: float | None, *, right: int | None = None, **changes: Any) -> Path:
    """Records of one step along a run that `write_run` wrote; ``changes`` are of the energy record's own fields."""
    own = json.loads((folder / "energy-target.json").read_text())
    run = RunInfo.model_validate(own["run"] | {"step": step, "checkpoint_sha256": sha(f"{folder} {step}")})
    data = DataInfo.model_validate(own["data"])
    snapshot = folder / f"along/{step:06d}"
    snapshot.mkdir(parents=True, exist_ok=True)
    if energy is not None:
        _write_energy(snapshot, run, data, energy)
        path = snapshot / "energy-target.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    if right is not None:
        _write_accuracy(snapshot, run, data, right, CLASSES)
    return snapshot


def write_predictions(folder: Path, *, split: str = "target", count: int = 2, wrong: int = 0, shift: int = 0) -> Path:
    """Masks of ``count`` pictures, 8 rows and 12 columns, into a run that `write_run` wrote.

    The upper half is of class 0, the lower of class 1, the last row unknown. The first ``wrong`` pixels of the first
    row are predicted wrong: of 84 that are known. ``shift`` makes other pictures.
    """
    info = RunInfo.model_validate(json.loads((folder / "energy-target.json").read_text())["run"])
    true = np.repeat(np.array([0, 0, 0, 0, 1, 1, 1, 255], dtype=np.uint8)[:, None], 12, axis=1)
    predicted = np.where(true == 255, 0, true).astype(np.uint8)
    predicted[0, :wrong] = 1
    arrays = {}
    for index in range(count):
        picture = np.full((8, 12, 3), 10 * index + shift, dtype=np.uint8)
        arrays |= {f"picture_{index}": picture, f"true_{index}": true, f"predicted_{index}": predicted}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    (folder / f"predictions-{split}.npz").write_bytes(stream.getvalue())
    record = PredictionsRecord(
        run=info,
        data=DataInfo(split=split, name="photos", identity=sha(f"{count}"), count=count, size=None, fit="whole"),
        classes=CLASSES,
        colours=[(0, 0, 0), (50, 100, 200)],
        unknown=255,
        arrays=f"predictions-{split}.npz",
        arrays_sha256=hashlib.sha256(stream.getvalue()).hexdigest(),
        pictures=[PredictedPicture(file=f"{index}.png", differs=wrong / 84) for index in range(count)],
    )
    path = folder / f"predictions-{split}.json"
    write_record(path, record)
    return path
