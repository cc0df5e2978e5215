"""The report: statistics against scipy, honest wording, comparability, escaping, equal bytes."""

import base64
import csv
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from scipy import stats

from csg_analysis.report.build import build
from csg_analysis.report.cli import main
from csg_analysis.report.compare import check_comparable
from csg_analysis.report.gallery import choose
from csg_analysis.report.load import load_runs
from csg_analysis.report.paper import order_sentences, published
from csg_analysis.report.rows import make_rows
from csg_analysis.report.stats import paired_difference, rank_correlation, spread
from csg_analysis.report.summary import summarize
from csg_analysis.report.tables import Table, to_csv
from csg_train.records import (
    AccuracyRecord,
    Attended,
    AttentionRecord,
    DataInfo,
    EnergyRecord,
    Interval,
    RunInfo,
    write_record,
)

METHODS = ("oracle", "baseline", "csg")
CLASSES = ["bird", "fish"]
E0 = {"oracle": -0.36, "baseline": -0.2, "csg": -0.4}


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
    **target: Any,
) -> Path:
    """One run folder; ``right`` of 100 pictures of each class are predicted right."""
    folder = root / f"{source}-{method}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    run = RunInfo(
        recipe="tiny",
        method=method,
        method_config=method_config or {},
        seed=seed,
        backbone="resnet18",
        weights=sha("weights"),
        source=source,
        source_identity=sha(source),
        step=step,
        checkpoint_sha256=sha(str(folder)),
        versions={"torch": "2.6.0"},
    )
    data = DataInfo(
        **({"split": "target", "name": "photos", "identity": sha("t"), "count": 200, "size": 32, "fit": "pad"} | target)
    )
    _write_accuracy(folder, run, data, right, classes)
    value = E0.get(method, -0.3) + 0.001 * seed if energy is None else energy
    _write_energy(folder, run, data, value)
    if attention:
        _write_attention(folder, run, data, classes)
    lines = [{"step": n, "lr_factor": 1.0, "loss": 2 / n, "ce": 2 / n} for n in range(1, step + 1)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": "tiny", "train": {"steps": step, "lr_head": 0.1}}))
    return folder


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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, three seeds, no difference; read only."""
    return write_all(tmp_path_factory.mktemp("report") / "runs", NO_DIFFERENCE)


@pytest.fixture(scope="module")
def report(runs: Path) -> Path:
    """The report of ``runs``; read only."""
    build([runs], runs.parent / "out", allow_mixed=False)
    return runs.parent / "out"


def rows_of(root: Path, *, allow_mixed: bool = False) -> list[Any]:
    loaded = load_runs([root])
    return make_rows(loaded, check_comparable(loaded, allow_mixed=allow_mixed))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build", *map(str, arguments)])


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1, result.output
    return lines[0]


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


# --- statistics ------------------------------------------------------------------------------------------------------


def test_paired_interval_is_scipys() -> None:
    ours = {"a": 0.61, "b": 0.55, "c": 0.70, "d": 0.58}
    theirs = {"d": 0.50, "c": 0.66, "b": 0.56, "a": 0.52, "e": 0.1}
    found = paired_difference(ours, theirs)
    values = [0.09, -0.01, 0.04, 0.08]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found is not None
    assert found.values == pytest.approx(values)
    assert found.mean == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.sign == "none"


def test_paired_interval_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t(0.975, 2) = 4.302653, half width 4.302653 / sqrt 3."""
    found = paired_difference({1: 1.0, 2: 2.0, 3: 3.0}, {1: 0.0, 2: 0.0, 3: 0.0})
    assert found is not None
    assert found.high == pytest.approx(2 + 4.302652729911275 / 3**0.5)


@pytest.mark.parametrize(
    ("values", "sign"),
    [
        ((1.0,), "few"),
        ((1.0, 1.1), "few"),
        ((1.0, 1.1, 1.2), "higher"),
        ((-1.0, -1.1, -1.2), "lower"),
        ((0, 0, 0), "none"),
    ],
)
def test_sign_follows_the_interval(values: tuple[float, ...], sign: str) -> None:
    found = paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))
    assert found is not None
    assert found.sign == sign


def test_no_common_pair_no_difference() -> None:
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_spread_of_one_run_has_no_deviation() -> None:
    one, three = spread([0.5]), spread([1.0, 2.0, 3.0])
    assert one is not None
    assert one.sd is None
    assert three is not None
    assert three.sd == pytest.approx(1.0)


def test_rank_correlation_needs_four_methods() -> None:
    assert rank_correlation([1, 2, 3], [3, 2, 1]) is None
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1, 1], [4, 3, 2, 1]) is None


# --- what the report says --------------------------------------------------------------------------------------------


def test_summary_says_no_difference(runs: Path) -> None:
    what, collapse, helped = summarize(rows_of(runs))
    assert "9 runs of 3 methods (oracle, baseline, csg)" in what.text
    assert "200 target pictures (photos)" in what.text
    assert collapse.text.startswith("Yes")
    assert "+0.160" in collapse.text
    assert "no difference can be shown" in helped.text
    assert helped.tone == "plain"


def test_summary_says_a_planted_difference(tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, HELP)))
    assert "csg +10.3 points" in helped.text
    assert "higher, the interval excludes 0" in helped.text
    assert helped.verdict == "help shown"


def test_summary_says_a_planted_harm(tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, HELP | {"csg": (40, 43, 44)})))
    assert "lower, the interval excludes 0" in helped.text
    assert helped.verdict == "harm shown"


def test_summary_says_no_collapse_when_energy_falls(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "oracle", seed, energy=-0.2)
        write_run(tmp_path, "baseline", seed, energy=-0.4 + 0.001 * seed)
    _, collapse, helped = summarize(rows_of(tmp_path))
    assert collapse.text.startswith("No:")
    assert "cannot be said" in helped.text


def test_single_seed_gives_no_ranking(tmp_path: Path) -> None:
    write_all(tmp_path / "runs", {"oracle": (50,), "baseline": (40,), "csg": (90,), "asg": (70,)})
    out = build([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    page = (out / "index.html").read_text()
    text = visible_text(page)
    assert "too few runs for an interval" in text
    assert not re.search(r'class="[^"]*\bstrong\b', page)
    assert "higher, the interval" not in text
    assert "not given while a method has fewer than 3 runs" in text
    assert "agrees" not in text.replace("Does the order agree", "")
    assert "**+" not in (out / "report.md").read_text()
    data = json.loads((out / "tables/methods.json").read_text())["rows"]
    assert all(row["mean_per_class_percent_minus_baseline_low"] is None for row in data)
    assert all(row["mean_per_class_percent_sd"] is None for row in data)


def test_best_is_bold_only_against_every_other(tmp_path: Path) -> None:
    clear = build([write_all(tmp_path / "clear", HELP)], tmp_path / "a", allow_mixed=False).parent
    unclear = build(
        [write_all(tmp_path / "un", HELP | {"oracle": (70, 40, 60)})], tmp_path / "b", allow_mixed=False
    ).parent
    assert "here csg's accuracy is bold" in visible_text((clear / "index.html").read_text())
    assert "here no accuracy is bold" in visible_text((unclear / "index.html").read_text())


def test_rows_keep_the_registrys_order(tmp_path: Path) -> None:
    write_all(tmp_path, {"csg": (90, 91, 92), "zeta": (99, 99, 99), "baseline": (10, 11, 12)})
    assert [row.label for row in rows_of(tmp_path)] == ["baseline", "csg", "zeta"]


def test_configurations_of_a_method_are_rows_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "csg", method_config={"weight": 0.1, "dim": 128})
    write_run(tmp_path / "b", "csg", method_config={"weight": 1.0, "dim": 128})
    assert [row.label for row in rows_of(tmp_path)] == ["csg weight=0.1", "csg weight=1.0"]


def test_rank_correlation_of_four_methods_is_given(tmp_path: Path) -> None:
    for place, method in enumerate(("baseline", "csg", "asg", "si")):
        for seed in range(3):
            write_run(tmp_path / "runs", method, seed, right=50 + 2 * place + seed, energy=-0.1 * place)
    out = build([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert "\u22121.00 (n = 4 methods, their means)" in visible_text((out / "index.html").read_text())


def test_published_numbers_are_table_1() -> None:
    rows = {entry.method: entry for entry in published()}
    assert len(rows) == 7
    assert rows["csg"].energy == {"0": 0.3188, "1": 1.1806, "2": 1.4177}
    assert rows["csg"].accuracy == pytest.approx(0.6405)
    assert rows["oracle"].energy == {}
    assert rows["baseline"].energy["0"] == max(entry.energy.get("0", 0) for entry in rows.values())


def test_order_against_the_paper(tmp_path: Path) -> None:
    energy, accuracy = order_sentences(rows_of(write_all(tmp_path, HELP)))
    assert "1 pair of methods in both tables: 1 ordered as published, baseline > csg" in energy
    assert "baseline < csg" in accuracy
    assert "cannot be told" in accuracy


def test_gallery_takes_one_source_and_the_lowest_seed(tmp_path: Path) -> None:
    for method, source, seed in [("baseline", "b", 1), ("baseline", "b", 2), ("csg", "b", 3), ("csg", "a", 0)]:
        write_run(tmp_path, method, seed, source=source)
    chosen = [(row.label, run.info.source, run.info.seed) for row, run in choose(rows_of(tmp_path))]
    assert chosen == [("baseline", "b", 1), ("csg", "b", 3)]


def test_page_shows_every_part(report: Path) -> None:
    text = visible_text((report / "index.html").read_text())
    for part in ("Beside the paper", "VisDA-17", "flat map", "fish/b.png", "divided by its own maximum", "layer4"):
        assert part in text
    for name in ("differences", "energy_accuracy", "confusion", "curves"):
        assert (report / f"figures/{name}.svg").read_text().startswith("<svg")
        assert (report / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (report / "figures/gradcam.png").exists()


def test_tables_hold_exact_numbers(report: Path) -> None:
    rows = {row["row"]: row for row in csv.DictReader((report / "tables/methods.csv").read_text().splitlines())}
    expected = stats.ttest_1samp([3, -4, 2], 0).confidence_interval(0.95)
    assert float(rows["csg"]["mean_per_class_percent_minus_baseline"]) == pytest.approx(1 / 3)
    assert float(rows["csg"]["mean_per_class_percent_minus_baseline_low"]) == pytest.approx(expected.low)
    assert float(rows["csg"]["mean_per_class_percent_sd"]) == pytest.approx(np.std([53, 50, 54], ddof=1))
    confusion = json.loads((report / "tables/confusion.json").read_text())["rows"]
    first = next(r for r in confusion if (r["row"], r["true"], r["predicted"]) == ("csg", "bird", "bird"))
    assert first["share"] == pytest.approx((0.53 + 0.50 + 0.54) / 3)


def test_provenance_names_checkpoint_and_records(report: Path, runs: Path) -> None:
    text = visible_text((report / "index.html").read_text())
    folder = runs / "clean-csg-0"
    assert sha(str(folder))[:12] in text
    assert hashlib.sha256((folder / "energy-target.json").read_bytes()).hexdigest()[:8] in text
    data = json.loads((report / "tables/provenance.json").read_text())["rows"]
    assert {row["checkpoint_sha256"] for row in data} == {sha(str(path)) for path in runs.iterdir()}


# --- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"identity": sha("other")}, "target pictures"),
        ({"size": 64}, "input size"),
        ({"step": 40}, "training steps on clean"),
    ],
)
def test_refuses_what_is_not_comparable(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    write_run(tmp_path / "runs", "baseline")
    write_run(tmp_path / "runs", "csg", **change)
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert named in line
    assert "--allow-mixed" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "key", "value", "named"),
    [
        ("energy-target.json", "layer", "layer3", "energy layer and pool"),
        ("energy-target.json", "pool", "attention", "energy layer and pool"),
        ("energy-target.json", "coincident_rule", "infinite", "rule for coincident pairs"),
        ("accuracy-target.json", "flip", False, "flip averaging"),
        ("attention.json", "explained", "label", "GradCAM explained class"),
    ],
)
def test_refuses_other_measurements(tmp_path: Path, file: str, key: str, value: object, named: str) -> None:
    write_run(tmp_path / "runs", "baseline")
    path = write_run(tmp_path / "runs", "csg") / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_mixed_report_is_marked_and_keeps_groups_apart(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs", "baseline", seed, right=50 + seed)
        write_run(tmp_path / "runs", "csg", seed, right=70 + 2 * seed, identity=sha("other"))
    out = tmp_path / "out"
    assert command(tmp_path / "runs", "--out", out, "--allow-mixed").exit_code == 0
    text = visible_text((out / "index.html").read_text())
    assert "Mixed report" in text
    assert "baseline [A]" in text
    assert "csg [B]" in text
    data = json.loads((out / "tables/methods.json").read_text())["rows"]
    assert all(row["mean_per_class_percent_minus_baseline"] is None for row in data)
    assert "Mixed report" in (out / "report.md").read_text()


def test_refuses_records_of_two_checkpoints(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    path = folder / "energy-target.json"
    record = json.loads(path.read_text())
    record["run"]["checkpoint_sha256"] = sha("newer")
    path.write_text(json.dumps(record))
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert "csg-analyze" in line
    assert "energy-target.json" in line


def test_refuses_a_copied_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    shutil.copytree(folder, tmp_path / "runs/copy")
    assert "same checkpoint" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_refuses_two_runs_of_one_seed(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", "csg")
    write_run(tmp_path / "runs/b", "csg")
    assert "the same run as" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_refuses_empty_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no records" in refused(tmp_path / "empty", "--out", tmp_path / "out")
    assert "no such folder" in refused(tmp_path / "nowhere", "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("energy-target.json", b'{"kind": "energy"'),
        ("attention.npz", b"PK\x03\x04 cut"),
        ("log.jsonl", b"nonsense\n"),
        ("recipe.yaml", b"{["),
    ],
)
def test_refuses_damaged_files(tmp_path: Path, file: str, content: bytes) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    (folder / file).write_bytes(content)
    assert file in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_refuses_a_record_under_a_wrong_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    (folder / "energy-target.json").rename(folder / "energy-source.json")
    assert "energy-source.json" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_half_a_last_log_line_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg")
    with (folder / "log.jsonl").open("a") as stream:
        stream.write('{"step": 21, "lo')
    (run,) = load_runs([tmp_path])
    assert run.last_step == 20


# --- missing parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("removed", "told"),
    [
        (("attention.json", "attention.npz"), "csg-analyze gradcam"),
        (("energy-target.json",), "csg-analyze energy"),
        (("accuracy-target.json",), "csg-analyze accuracy"),
        (("log.jsonl", "recipe.yaml"), "No run folder holds a training log"),
    ],
)
def test_missing_parts_say_how_to_make_them(tmp_path: Path, removed: tuple[str, ...], told: str) -> None:
    root = write_all(tmp_path / "runs", NO_DIFFERENCE)
    for name in removed:
        for path in root.rglob(name):
            path.unlink()
    out = build([root], tmp_path / "out", allow_mixed=False).parent
    assert told in visible_text((out / "index.html").read_text())
    assert told in (out / "report.md").read_text().replace("\\", "")


@pytest.mark.parametrize("kept", ["attention.json", "accuracy-target.json", "energy-target.json"])
def test_one_run_with_one_record_is_a_report(tmp_path: Path, kept: str) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    for path in folder.iterdir():
        if path.name not in (kept, "attention.npz"):
            path.unlink()
    assert build([folder], tmp_path / "out", allow_mixed=False).is_file()


def test_notices_name_other_recipes_and_old_records(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    folder = write_run(tmp_path / "runs", "csg")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["train"]["lr_head"] = 0.5
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with (folder / "log.jsonl").open("a") as stream:
        stream.write('{"step": 21, "loss": 1.0}\n')
    out = build([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    text = visible_text((out / "index.html").read_text())
    assert "The recipes differ in train.lr_head" in text
    assert "the training log goes to step 21" in text


# --- bytes, escaping, policy -----------------------------------------------------------------------------------------


def test_same_records_same_bytes(runs: Path, report: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(runs, tmp_path / "elsewhere/runs")
    build([*sorted(copied.iterdir(), reverse=True), copied], tmp_path / "again", allow_mixed=False)
    first = {path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    second = {p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_rebuilding_removes_only_its_own_old_files(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "csg")
    out = tmp_path / "out"
    build([tmp_path / "runs"], out, allow_mixed=False)
    (out / "mine.txt").write_text("kept")
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    listed = json.loads((out / "files.json").read_text())
    (out / "files.json").write_text(json.dumps([*listed, "../outside.txt"]))
    for path in (tmp_path / "runs").rglob("attention.*"):
        path.unlink()
    build([tmp_path / "runs"], out, allow_mixed=False)
    assert not (out / "figures/gradcam.png").exists()
    assert (out / "mine.txt").exists()
    assert outside.exists()


EVIL = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose every name is hostile: method, class, file, source, target."""
    root = tmp_path_factory.mktemp("evil")
    for seed in range(3):
        for method in ("baseline", EVIL, "=cmd|' /C calc'!A0", "_$x$"):
            folder = write_run(root / "runs", "m", seed, classes=[EVIL, "$a_b$ `|`"], name=EVIL, source="s")
            folder = folder.rename(root / f"runs/{sha(method)[:6]}-{seed}")
            for path in folder.glob("*.json"):
                record = json.loads(path.read_text())
                record["run"] |= {"method": method, "source": EVIL, "checkpoint_sha256": sha(str(folder))}
                path.write_text(json.dumps(record))
    return build([root / "runs"], root / "out", allow_mixed=False).parent


def test_names_are_escaped_everywhere(evil: Path) -> None:
    page = (evil / "index.html").read_text()
    assert page.count("<script") == 1
    assert EVIL in visible_text(page)
    assert "<script" not in (evil / "report.md").read_text()
    for path in evil.glob("figures/*.svg"):
        assert "<script" not in path.read_text()
    for path in evil.glob("tables/*.csv"):
        for row in csv.reader(path.read_text().splitlines()):
            assert not any(re.match(r"[=+@\t\r]|-(?![\d.])", cell) for cell in row), (path.name, row)


def test_formula_cells_are_guarded_and_numbers_are_not() -> None:
    table = Table("t", "t", [], [], [{"=a": "-1+1", "b": -1.5, "c": None, "d": "@x", "e": "ok"}])
    assert list(csv.reader(to_csv(table).splitlines())) == [
        ["'=a", "b", "c", "d", "e"],
        ["'-1+1", "-1.5", "", "'@x", "ok"],
    ]


@pytest.mark.parametrize("which", ["report", "evil"])
def test_page_asks_for_nothing_outside(which: str, request: pytest.FixtureRequest) -> None:
    page = (request.getfixturevalue(which) / "index.html").read_text()
    urls = set(re.findall(r"""(?:https?:)?//[^\s"'<>)]+""", re.sub(r"base64,[^\"]*", "", page)))
    assert urls <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|script|img|iframe)[^>]+(?:src|href)=\"(?!data:)", page)
    assert not re.search(r"\sstyle=|\son[a-z]+=\"", page)


def test_policy_hashes_match(report: Path) -> None:
    page = (report / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'").replace("&#34;", '"')
    assert "default-src 'none'" in allowed
    assert "unsafe" not in allowed
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in allowed


def test_page_is_well_formed(report: Path) -> None:
    page = (report / "index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in ids
    for link in re.findall(r'href="((?:tables|figures)/[^"]+)"', page):
        assert (report / link).is_file()


def test_markdown_figures_exist(report: Path) -> None:
    text = (report / "report.md").read_text()
    figures = re.findall(r"\]\(([^)]+\.png)\)", text)
    assert len(figures) == 5
    assert all((report / figure).is_file() for figure in figures)


def test_command_prints_where_the_report_is(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    result = command("--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/index.html").is_file()
