"""Sections of the report that only some runs have records for: attention in numbers, similarity, the circle."""

import json
import math
import re
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest

from csg_analysis.drawing.numbers import MINUS
from csg_analysis.report.build import build_report
from csg_analysis.report.diff import compare_reports
from csg_analysis.report.similarity_part import similarity_part
from csg_analysis.report.verify import verify_report
from csg_analysis.similarity.metrics.table import METRICS
from csg_analysis.sphere.circle import on_circle, von_mises_density
from csg_analysis.sphere.record import grid, sphere_records
from csg_train.files import sha256_file, write_json
from csg_train.runs.records import (
    AttentionScores,
    CurveScores,
    DataInfo,
    OverlapScores,
    RunInfo,
    SimilarityRecord,
    SphereRecord,
    write_record,
)
from tests.analysis.conftest import analyze
from tests.analysis.report.cases import (
    HELP,
    built_text,
    refused,
    rows_of,
    sha,
    table,
    visible_text,
    write_all,
    write_run,
)

pytestmark = pytest.mark.usefixtures("sketched")
MEASURES = {"alignment": 0.5, "uniformity": -2.25, "effective rank": 40.0, "spread": 0.6}


def facts_of(folder: Path) -> tuple[RunInfo, DataInfo]:
    record = json.loads((folder / "energy-target.json").read_text())
    return RunInfo.model_validate(record["run"]), DataInfo.model_validate(record["data"])


def write_attention_scores(folder: Path, iou: float, *, layer: str = "layer4", curves: bool = True) -> None:
    """``deletion`` is the area of [1, iou, 0], which is (1 + 2 iou) / 4."""
    run, data = facts_of(folder)
    own = CurveScores(
        deletion=(1 + 2 * iou) / 4,
        insertion=0.75,
        deletion_curve=[1.0, iou, 0.0],
        insertion_curve=[0.5, 0.75, 1.0],
        steps=2,
        deletion_baseline="grey",
        insertion_baseline="blur",
        count=190,
        definition="softmax probability",
    )
    record = AttentionScores(
        run=run,
        data=data,
        layer=layer,
        explained="predicted",
        flat=10,
        overlap=OverlapScores(iou=iou, share=0.6, area=0.3, count=180, without_mask=10, definition="alpha >= 128"),
        curves=own if curves else None,
    )
    write_record(folder / "attention-target.json", record)


def write_similarity(folder: Path, cka: float, *, start: str = "weights", layer: str = "layer4") -> None:
    run, data = facts_of(folder)
    record = SimilarityRecord(
        run=run,
        data=data,
        start=sha(start),
        pool="average",
        cka={"layer1": 0.99, "layer4": cka},
        layer=layer,
        dim=512,
        measures=MEASURES,
        start_measures=MEASURES | {"spread": 0.9},
        spread_by_class={"bird": 0.5, "fish": 0.7},
        definitions={name: f"{metric.definition} ({metric.source})" for name, metric in METRICS.items()},
    )
    write_record(folder / "similarity-target.json", record)


def write_circle(folders: list[Path]) -> list[SphereRecord]:
    """Features of each folder on one circle; two or three directions, so that the densities differ."""
    rng = np.random.default_rng(0)
    facts = [facts_of(folder) for folder in folders]
    features = [rng.normal(size=(40, 6)) + 3 * (index + 1) * np.eye(6)[index] for index in range(len(folders))]
    runs = [run for run, _ in facts]
    energies = [-0.1 * index for index in range(len(folders))]
    circle = on_circle(features)
    records = sphere_records(
        circle, runs, data=[data for _, data in facts], layer="layer4", pool="average", energies=energies
    )
    for folder, record in zip(folders, records, strict=True):
        write_json(folder / "sphere-target.json", record.model_dump(mode="json"))
    return records


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods of three seeds: attention and similarity of csg alone, the circle of the runs of seed 0."""
    runs = write_all(tmp_path_factory.mktemp("parts") / "runs", HELP, attention=False)
    for seed in range(3):
        write_attention_scores(runs / f"clean-csg-{seed}", 0.3 + 0.1 * seed)
        write_similarity(runs / f"clean-csg-{seed}", 0.5 + 0.1 * seed)
    write_circle([runs / f"clean-{method}-0" for method in ("oracle", "baseline", "csg")])
    return runs


@pytest.fixture(scope="module")
def out(root: Path) -> Path:
    return build_report([root], root.parent / "out", allow_mixed=False).parent


def row_of(out: Path, name: str, label: str) -> dict[str, object]:
    (found,) = (record for record in table(out, name) if record["row"] == label)
    return found


def test_attention_is_the_mean_over_runs(out: Path) -> None:
    """IoU 0.3, 0.4, 0.5; a method without records has none."""
    csg = row_of(out, "attention_target", "csg")
    assert csg["iou"] == pytest.approx(0.4)
    assert csg["iou_sd"] == pytest.approx(statistics.stdev([0.3, 0.4, 0.5]))
    assert csg["iou_low"] == pytest.approx(0.4 - 4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert csg["deletion"] == pytest.approx((1 + 2 * 0.4) / 4)
    assert csg["flat"] == 10
    assert row_of(out, "attention_target", "baseline")["iou"] is None


def test_differences_to_the_baseline_are_paired_by_seed(tmp_path: Path) -> None:
    """IoU 0.3, 0.4, 0.5 against 0.25, 0.35, 0.4: differences of mean 0.2 / 3 and deviation 0.05 / sqrt(3)."""
    runs = write_all(tmp_path / "runs", HELP, attention=False)
    for seed, (ours, theirs) in enumerate([(0.3, 0.25), (0.4, 0.35), (0.5, 0.4)]):
        write_attention_scores(runs / f"clean-csg-{seed}", ours)
        write_attention_scores(runs / f"clean-baseline-{seed}", theirs)
    page = built_text(runs, tmp_path / "out", allow_mixed=False)
    csg, half = row_of(tmp_path / "out", "attention_target", "csg"), 4.302653 * 0.05 / 3
    assert csg["iou_minus_baseline"] == pytest.approx(0.2 / 3)
    assert csg["iou_minus_baseline_low"] == pytest.approx(0.2 / 3 - half, abs=1e-6)
    assert csg["iou_minus_baseline_high"] == pytest.approx(0.2 / 3 + half, abs=1e-6)
    assert csg["iou_minus_baseline_pairs"] == 3
    assert f"Δ +0.067 [{MINUS}0.005, +0.138] inconclusive" in page.replace("\xa0", " ")
    baseline = row_of(tmp_path / "out", "attention_target", "baseline")
    assert (baseline["iou_minus_baseline"], baseline["iou_minus_baseline_pairs"]) == (None, 0)
    assert page.count("Δ +0.000") == 0  # the object's area is the same for all


def test_similarity_is_the_mean_over_runs_beside_the_start(out: Path) -> None:
    csg, start = (row_of(out, "similarity_target", label) for label in ("csg", "starting weights"))
    assert [csg["cka_layer1"], csg["cka_layer4"]] == pytest.approx([0.99, 0.6])
    assert [csg[name.replace(" ", "_")] for name in MEASURES] == pytest.approx(list(MEASURES.values()))
    assert start["spread"] == pytest.approx(0.9)


def test_arrows_are_the_metrics_own_and_definitions_are_notes(out: Path) -> None:
    page = visible_text((out / "index.html").read_text())
    for name, metric in METRICS.items():
        assert metric.definition in page
        label = "CKA layer4" if name == "cka" else name.capitalize()
        arrow = {True: " ↑ higher is better", False: " ↓ lower is better", None: ""}[metric.higher_is_better]
        assert re.search(rf"{label}{arrow}(?! [↑↓])", page), name
    assert "Deletion ↓ lower is better Insertion ↑ higher is better" in page
    for part in ("GradCAM of layer4 for the class that each method predicts", "overlap of 180 pictures", "2 steps"):
        assert part in page
    assert "average pool" in page.lower()


def test_the_circle_shows_what_was_projected_together(drawn: None, root: Path, tmp_path: Path) -> None:
    """The record's own density: integral 1; the panels in the figure, in order, with their energies."""
    out = build_report([root], tmp_path / "out", allow_mixed=False).parent
    rows = table(out, "sphere_target")
    assert [record["run"] for record in rows] == [f"clean-{name}-0" for name in ("oracle", "baseline", "csg")]
    for record in rows:
        own = SphereRecord.model_validate_json((root / str(record["run"]) / "sphere-target.json").read_text())
        assert np.mean(own.density) * 2 * np.pi == pytest.approx(1, abs=1e-9)
        assert record["highest_density"] == max(own.density)
    drawing = (out / "figures/sphere_target.svg").read_text()
    assert drawing.index("oracle s0") < drawing.index("baseline s0") < drawing.index("csg s0")
    assert f"E₀ = {MINUS}0.200 (mhe)" in drawing


def test_a_recorded_density_is_that_of_the_angles() -> None:
    """Two opposite clusters in a plane: the density peaks at both, half as high as one alone would."""
    turn_N = np.concatenate([np.full(50, 0.3), np.full(50, 0.3 + np.pi)])
    features_ND = (
        np.stack([np.cos(turn_N), np.sin(turn_N), np.zeros(100)], axis=1) + 1e-3 * np.eye(3)[np.arange(100) % 3]
    )
    run = RunInfo(
        recipe="r",
        method="csg",
        method_config={},
        seed=0,
        backbone="resnet18",
        weights="w",
        source="s",
        source_identity="i",
        step=1,
        checkpoint_sha256=sha("c"),
        versions={},
    )
    data = DataInfo(split="target", name="p", identity="i", count=100, size=32, fit="pad")
    circle = on_circle([features_ND])
    (record,) = sphere_records(circle, [run], data=[data], layer="layer4", pool="average", energies=[0.0])
    density_G = np.array(record.density)
    single = von_mises_density(np.zeros(1), np.zeros(1))[0]
    assert density_G.max() == pytest.approx(single / 2, rel=1e-3)
    np.testing.assert_allclose(density_G, np.roll(density_G, len(grid()) // 2), rtol=0.02, atol=1e-3)


def test_different_planes_never_share_a_figure(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "runs", method, attention=False) for method in ("baseline", "csg", "oracle")]
    write_circle(folders[:2])
    write_circle(folders[2:])
    build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False)
    names = {frozenset(str(r["row"]) for r in table(tmp_path / "out", f"sphere_target{end}")) for end in ("", "_2")}
    assert names == {frozenset({"oracle"}), frozenset({"baseline", "csg"})}


def test_every_file_of_the_parts_is_there_and_linked(out: Path) -> None:
    markdown, page = (out / "report.md").read_text(), (out / "index.html").read_text()
    for name in ("attention_target", "similarity_target", "sphere_target"):
        for ending in ("csv", "json", "tex"):
            assert (out / f"tables/{name}.{ending}").is_file()
        assert f'href="tables/{name}.csv"' in page
    for figure in ("removal", "cka", "sphere_target"):
        assert f"](figures/{figure}.png)" in markdown
        assert (out / f"figures/{figure}.png").is_file()
    for anchor in ("attention", "similarity", "sphere"):
        assert f'href="#{anchor}"' in page
    assert r"$\downarrow$ lower is better" in (out / "tables/attention_target.tex").read_text()


def test_no_such_section_without_records(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert not any(f'id="{anchor}"' in page for anchor in ("attention", "similarity", "sphere"))
    assert not list((report / "tables").glob("attention_*"))


def test_same_records_same_bytes(drawn: None, root: Path, tmp_path: Path) -> None:
    out, _ = (build_report([root], tmp_path / name, allow_mixed=False).parent for name in ("out", "again"))
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(out)).read_bytes(), path


def test_verified_and_compared(root: Path, out: Path, tmp_path: Path) -> None:
    assert verify_report(out, [root]).faults == []
    shutil.copytree(out, tmp_path / "again")
    changed = tmp_path / "again/tables/similarity_target.json"
    changed.write_text(re.sub(r'"cka_layer1": 0\.9\d+', '"cka_layer1": 0.5', changed.read_text()))
    assert any("similarity_target.json" in fault for fault in verify_report(tmp_path / "again", [root]).faults)
    (found,) = compare_reports(out, tmp_path / "again").numbers
    assert (found.table, found.row, found.field, found.after) == ("similarity_target", "csg", "cka_layer1", 0.5)


def test_verify_recomputes_what_a_record_says_of_itself(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg", attention=False)
    write_attention_scores(folder, 0.3)
    write_similarity(folder, 0.5)
    for name, old, new in (
        ("attention-target.json", '"deletion": 0.4', '"deletion": 0.3'),
        ("similarity-target.json", '"spread": 0.6', '"spread": 0.7'),
    ):
        path = folder / name
        path.write_text(path.read_text().replace(old, new, 1))
    build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False)
    attention, similarity = verify_report(tmp_path / "out", []).faults
    assert attention.endswith("attention-target.json: deletion does not follow from the record's own curve")
    assert similarity.endswith("similarity-target.json: spread does not follow from the record's own classes")


@pytest.mark.parametrize(
    ("write", "changes", "named"),
    [
        (write_attention_scores, {"layer": "layer3"}, "attention layer"),
        (write_similarity, {"layer": "layer3"}, "similarity layer and pool"),
        (write_similarity, {"start": "others"}, "compared with"),
    ],
)
def test_other_settings_are_refused_and_marked(tmp_path: Path, write: object, changes: dict, named: str) -> None:
    first, second = (write_run(tmp_path / "runs", method, attention=False) for method in ("baseline", "csg"))
    write(first, 0.5)
    write(second, 0.5, **changes)
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")
    page = built_text(tmp_path / "runs", tmp_path / "out", allow_mixed=True)
    assert named in page
    assert "baseline [A]" in page


def test_a_damaged_or_misplaced_record_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg", attention=False)
    write_similarity(folder, 0.5)
    text = (folder / "similarity-target.json").read_text()
    (folder / "similarity-source.json").write_text(text)
    assert "similarity-source.json: holds the similarity record of target" in refused(tmp_path / "runs")
    (folder / "similarity-source.json").write_text(text.replace('"dim": 512', '"dim": "many"'))
    assert "dim" in refused(tmp_path / "runs")


def test_the_command_writes_a_density_beside_each_checkpoint(trained: tuple[Path, Path], tmp_path: Path) -> None:
    assert analyze("sphere", *trained, "--out", tmp_path / "sphere.svg").exit_code == 0
    records = [SphereRecord.model_validate_json((path.parent / "sphere-target.json").read_text()) for path in trained]
    assert [record.run.checkpoint_sha256 for record in records] == [sha256_file(path) for path in trained]
    assert all(record.together == [sha256_file(path) for path in trained] for record in records)
    assert [np.mean(record.density) * 2 * np.pi for record in records] == pytest.approx([1, 1], abs=1e-9)
    assert (records[0].layer, records[0].data.count) == ("layer4", 9)


def test_the_start_is_the_mean_over_the_runs_of_its_group(tmp_path: Path) -> None:
    """Spreads 0.9, 0.6 and 0.6 in one group, 0.9 in the other."""
    for backbone, spreads in (("resnet18", (0.9, 0.6, 0.6)), ("resnet50", (0.9,))):
        for seed, spread in enumerate(spreads):
            folder = write_run(tmp_path / backbone, "csg", seed, backbone=backbone, attention=False)
            write_similarity(folder, 0.5)
            path = folder / "similarity-target.json"
            record = json.loads(path.read_text())
            record["start_measures"]["spread"] = spread
            path.write_text(json.dumps(record))
    part = similarity_part(rows_of(tmp_path, allow_mixed=True))
    data = {row["row"]: row["spread"] for row in part.tables[0].data}
    assert data["starting weights [A]"] == pytest.approx(0.7)
    assert data["starting weights [B]"] == pytest.approx(0.9)
    shown = {row[0].text: row[-1].text for row in part.tables[0].rows}
    assert (shown["starting weights [A]"], shown["starting weights [B]"]) == ("0.700", "0.900")


@pytest.mark.parametrize(("count", "said"), [(511, True), (512, False)])
def test_fewer_pictures_than_dimensions_are_said(tmp_path: Path, count: int, said: bool) -> None:
    write_similarity(write_run(tmp_path, "csg", attention=False, count=count), 0.5)
    notes = similarity_part(rows_of(tmp_path)).tables[0].notes
    assert (f"CKA is biased upwards here: {count} pictures are fewer than the dimensions." in notes) == said


def test_each_split_has_its_own_similarity(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg", attention=False)
    write_similarity(folder, 0.5)
    record = json.loads((folder / "similarity-target.json").read_text())
    record["data"] |= {"split": "source", "identity": sha("s")}
    record["cka"]["layer4"], record["measures"]["alignment"] = 0.75, 0.25
    (folder / "similarity-source.json").write_text(json.dumps(record))
    found = {table.name: table.data[1] for table in similarity_part(rows_of(tmp_path)).tables}
    values = {name: (own["cka_layer4"], own["alignment"]) for name, own in found.items()}
    assert values == {"similarity_source": (0.75, 0.25), "similarity_target": (0.5, 0.5)}


def test_the_chart_of_cka_has_the_mean_of_each_stage(root: Path) -> None:
    """0.99 at the first stage; 0.5, 0.6 and 0.7 at the last, a dot each."""
    (axes,) = similarity_part(rows_of(root)).charts[0].draw().axes
    lines = [(line.get_linestyle(), list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    assert [(own, x) for own, x, _ in lines] == [("None", [0, 0, 0]), ("None", [1, 1, 1]), ("-", [0, 1])]
    assert [y for *_, y in lines] == [
        pytest.approx([0.99] * 3),
        pytest.approx([0.5, 0.6, 0.7]),
        pytest.approx([0.99, 0.6]),
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["layer1", "layer4"]


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        (None, "explained", "label", "class that attention explains"),
        ("curves", "steps", 4, "steps of deletion and insertion"),
    ],
)
def test_attention_measured_otherwise_is_refused(tmp_path: Path, section, key, value, named) -> None:
    folders = [write_run(tmp_path / "runs", method, attention=False) for method in ("baseline", "csg")]
    for folder in folders:
        write_attention_scores(folder, 0.5)
    path = folders[1] / "attention-target.json"
    record = json.loads(path.read_text())
    (record[section] if section else record)[key] = value
    path.write_text(json.dumps(record))
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")
