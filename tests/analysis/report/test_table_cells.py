"""Cells and data of the tables of runs, methods, splits and classes, by hand."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from csg_analysis.report.method_tables import class_table, method_table, split_table
from csg_analysis.report.paper_order import order_table
from csg_analysis.report.run_tables import provenance_table, run_table
from tests.analysis.report.cases import HELP, rows_of, sha, visible_text, write_all, write_run

pytestmark = pytest.mark.usefixtures("sketched")


def changed(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_lopsided(root: Path, method: str, seed: int, birds: int, e0: float, e1: float, e2: float) -> Path:
    """Of 100 birds so many are right, of 200 fish 180: the mean per class is another than the share of all."""
    folder = write_run(root, method, seed, attention=False)
    shares = [birds / 100, 0.9]
    changed(
        folder / "accuracy-target.json",
        confusion=[[birds, 100 - birds], [20, 180]],
        per_class=shares,
        mean_per_class=sum(shares) / 2,
        overall=(birds + 180) / 300,
        interval={"low": 0.4, "high": 0.75, "level": 0.95, "kind": "bootstrap"},
    )
    ends = {"0": (-0.5, -0.25), "1": (0.875, 1.5), "2": (0.75, 2.0)}
    changed(
        folder / "energy-target.json",
        mhe={"0": e0, "1": e1, "2": e2},
        paper={"0": e0 / 2, "1": e1, "2": e2},
        interval={s: {"low": low, "high": high, "level": 0.95, "kind": "jackknife"} for s, (low, high) in ends.items()},
        coincident=3 * seed,
    )
    return folder


def texts(cells) -> list[str]:
    """Without the deviations."""
    return [cell.text.split("\N{NARROW NO-BREAK SPACE}")[0].replace("\N{MINUS SIGN}", "-") for cell in cells]


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


def test_of_classes_and_methods_the_more_numerous_go_down_the_page(tmp_path: Path) -> None:
    for method, right in (("baseline", 20), ("csg", 80)):
        write_run(tmp_path, method, right=right, classes=["ant", "bee", "cow"])
    tall = class_table(rows_of(tmp_path))
    assert [column.label for column in tall.columns] == ["Class", "Pictures", "baseline", "csg"]
    assert [[cell.text for cell in row] for row in tall.rows] == [
        [name, "100", "20.0", "80.0"] for name in ("ant", "bee", "cow")
    ]
    for method in ("oracle", "ewc"):
        write_run(tmp_path, method, right=50, classes=["ant", "bee", "cow"])
    wide = class_table(rows_of(tmp_path))
    heads = [(column.label, column.hint) for column in wide.columns]
    assert heads == [("Method", ""), *((name, "%, 100 pictures") for name in ("ant", "bee", "cow"))]
    assert ["csg", "80.0", "80.0", "80.0"] in [[cell.text for cell in row] for row in wide.rows]
    assert {(one["class"], one["row"]) for one in tall.data} < {(one["class"], one["row"]) for one in wide.data}


def test_each_method_against_the_baseline_as_published_by_hand(tmp_path):
    """Table 1: csg 0.3188 and 64.05 %, baseline 0.4245 and 49.3 %. Ours: -0.4 and -0.2; 10, 11 and 10 points."""
    table = order_table(rows_of(write_all(tmp_path, HELP, attention=False)))
    (record,) = [own for own in table.data if own["row"] == "csg"]
    (line,) = [own for own in table.rows if own[0].text == "csg"]
    assert record["e0_mhe_published"] == pytest.approx(0.3188 - 0.4245)
    assert record["e0_mhe_ours"] == pytest.approx(-0.2)
    assert record["e0_mhe_agrees"] == "agrees"
    assert [cell.text for cell in line[1:4]] == ["\N{MINUS SIGN}0.106", "\N{MINUS SIGN}0.200", "agrees"]
    assert [cell.text for cell in line[4:7]] == ["+14.75", "+10.3", "agrees"]


def test_the_line_of_a_run_by_hand(tmp_path: Path) -> None:
    """Classes 30 and 90 %: 60; of all 300 pictures 210."""
    write_lopsided(tmp_path, "csg", 1, 30, -0.4, 1.25, 1.75)
    own = run_table(rows_of(tmp_path))
    (cells,), (data,) = own.rows, own.data
    assert texts(cells[3:]) == ["1", "-0.400", "1.250", "1.750", "60.0", "70.0"]
    notes = [cell.note.replace("\N{MINUS SIGN}", "-") for cell in cells[4:]]
    assert notes == ["[-0.500, -0.250]", "[0.875, 1.500]", "[0.750, 2.000]", "[40.0, 75.0]", ""]
    assert own.notes[:2] == [
        "Interval of a single run: E_s, 95% jackknife.",
        "Interval of a single run: accuracy, 95% bootstrap.",
    ]
    expected = {"e0_mhe": -0.4, "e0_mhe_low": -0.5, "e0_mhe_high": -0.25, "e0_paper": -0.2, "e2_paper": 1.75}
    expected |= {"e1_mhe_low": 0.875, "e2_mhe_high": 2.0, "pairs": 19900, "coincident_pairs": 3}
    expected |= {"mean_per_class_percent": 60, "mean_per_class_percent_low": 40, "mean_per_class_percent_high": 75}
    assert {name: data[name] for name in expected} == pytest.approx(expected)
    assert data["overall_percent"] == pytest.approx(70)


@pytest.mark.parametrize("flip", [True, False])
def test_the_lines_of_methods_by_hand(flip: bool, tmp_path: Path) -> None:
    """Birds 30, 31, 32; 70, 72, 71; 50, 52, 51: of two classes 20, 20.5, 19.5 points and 10, 10.5, 9.5."""
    birds = {"baseline": (30, 31, 32), "asg": (70, 72, 71), "csg": (50, 52, 51)}
    for place, (method, own) in enumerate(birds.items()):
        for seed, right in enumerate(own):
            folder = write_lopsided(
                tmp_path, method, seed, right, -0.1 * place - 0.001 * seed * place, 1 + place, 2.5 + place
            )
            changed(folder / "accuracy-target.json", flip=flip)
    own = method_table(rows_of(tmp_path))
    assert [texts(row) for row in own.rows] == [
        ["baseline", "3", "0.000", "reference", "60.5", "reference", "1.000", "2.500", "70.3"],
        ["asg", "3", "-0.101", "-0.101", "80.5", "+20.0", "2.000", "3.500", "83.7"],
        ["csg", "3", "-0.202", "-0.202", "70.5", "+10.0", "3.000", "4.500", "77.0"],
    ]
    assert [(row[3].tone, row[5].tone, row[4].strong) for row in own.rows] == [
        ("", "", False),
        ("good", "good", True),
        ("good", "good", False),
    ]
    csg = own.data[2]
    assert (csg["e1_mhe"], csg["e2_mhe"], csg["e1_mhe_sd"]) == (3, 4.5, 0)
    assert (csg["overall_percent"], csg["mean_per_class_percent"]) == pytest.approx((77, 70.5))
    half = 4.302652729911275 * 0.5 / 3**0.5
    found = [csg[f"mean_per_class_percent_{end}"] for end in ("low", "high")]
    assert found == pytest.approx([70.5 - half, 70.5 + half])
    name = "mean_per_class_percent_minus_baseline"
    assert (csg[name], csg[f"{name}_pairs"], csg[f"{name}_comparisons"]) == (pytest.approx(10), 3, 2)
    notes = " ".join(own.notes)
    assert "Coincident pairs: 0 to 6, rule “exclude”" in notes
    assert "Uniform directions would have E₀ = \N{MINUS SIGN}0.690 in 512 dimensions" in notes
    assert ("averaged over the picture and its mirror image" in notes) == flip
    assert ("Prediction: the largest sigmoid of the picture;" in notes) != flip


def test_each_split_stands_in_its_own_column(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg", right=50, energy=-0.3, attention=False)
    for split, right, energy in (("source", 0.9, -0.1), ("validation", 0.8, -0.2)):
        for kind, changes in (
            ("accuracy", {"mean_per_class": right, "per_class": [right, right]}),
            ("energy", {"mhe": {"0": energy}}),
        ):
            record = json.loads((folder / f"{kind}-target.json").read_text())
            record["data"] |= {"split": split, "identity": sha(split)}
            (folder / f"{kind}-{split}.json").write_text(json.dumps(record | changes))
    own = split_table(rows_of(tmp_path))
    (cells,), (data,) = own.rows, own.data
    heads = [(column.label, column.hint) for column in own.columns[1:]]
    names = (("Source", "trained on"), ("Validation", "held out"), ("Target", "real"))
    assert heads == [(f"{name} {what}", hint) for what in ("%", "E₀") for name, hint in names]
    assert texts(cells[1:]) == ["90.0", "80.0", "50.0", "-0.100", "-0.200", "-0.300"]
    assert [data[f"accuracy_percent_{split.lower()}"] for split, _ in names] == pytest.approx([90, 80, 50])
    assert [data[f"e0_mhe_{split}"] for split in ("source", "validation", "target")] == [-0.1, -0.2, -0.3]


def test_a_class_without_pictures_in_one_run_is_the_mean_of_the_others(tmp_path: Path) -> None:
    write_lopsided(tmp_path, "csg", 0, 30, -0.4, 1, 1)
    folder = write_lopsided(tmp_path, "csg", 1, 40, -0.4, 1, 1)
    changed(folder / "accuracy-target.json", per_class=[0.4, None], confusion=[[40, 60], [0, 0]], mean_per_class=0.4)
    rows = class_table(rows_of(tmp_path)).rows
    assert [texts(row) for row in rows] == [["bird", "100", "35.0"], ["fish", "0 / 200", "90.0"]]


def test_provenance_tells_the_source_from_the_target_and_the_rule_of_the_step(tmp_path: Path) -> None:
    write_run(tmp_path, "csg", 2, selection="source-val", attention=False)
    (facts,) = provenance_table(rows_of(tmp_path)).data
    assert (facts["method"], facts["step"]) == ("csg, seed 2", "20 (source-val)")
    assert (facts["source_identity"], facts["target_identity"]) == (sha("clean"), sha("t"))
    assert facts["weights_sha256"] == sha("weights")
