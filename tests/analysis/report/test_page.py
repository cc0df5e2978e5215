"""The report's files: equal bytes, escaping, nothing from outside, whole pages."""

import base64
import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from csg_analysis.drawing.svg import plain
from csg_analysis.report.build import build_report
from csg_analysis.report.figures import confusion, differences
from csg_analysis.report.format import ends, signed
from csg_analysis.report.tables import Cell, Table, to_csv
from csg_analysis.report.verify import verify_report
from csg_train.errors import UserError
from tests.analysis.report.cases import (
    command,
    rows_of,
    sha,
    visible_text,
    write_run,
)


def test_same_records_same_bytes(runs: Path, report: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(runs, tmp_path / "elsewhere/runs")
    build_report([*sorted(copied.iterdir(), reverse=True), copied], tmp_path / "again", allow_mixed=False)
    first = {path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    second = {p.relative_to(tmp_path / "again"): p.read_bytes() for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_page_shows_every_part(report: Path) -> None:
    text = visible_text((report / "index.html").read_text())
    for part in (
        "Compared with the paper",
        "VisDA-17",
        "flat map",
        "fish/b.png",
        "divided by its own maximum",
        "layer4",
    ):
        assert part in text
    for name in ("differences", "energy_accuracy", "confusion", "curves"):
        assert (report / f"figures/{name}.svg").read_text().startswith("<svg")
        assert (report / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (report / "figures/gradcam.png").exists()


def test_rebuilding_removes_only_its_own_old_files(undrawn: None, tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "csg")
    out = tmp_path / "out"
    build_report([tmp_path / "runs"], out, allow_mixed=False)
    (out / "mine.txt").write_text("kept")
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    listed = json.loads((out / "files.json").read_text())
    (out / "files.json").write_text(json.dumps([*listed, "../outside.txt"]))
    for path in (tmp_path / "runs").rglob("attention.*"):
        path.unlink()
    build_report([tmp_path / "runs"], out, allow_mixed=False)
    assert not (out / "figures/gradcam.png").exists()
    assert (out / "mine.txt").exists()
    assert outside.exists()
    (out / "files.json").unlink()
    before = (out / "index.html").read_bytes()
    with pytest.raises(UserError, match=r"out/.*: not from csg-report, which would overwrite it; choose another --out"):
        build_report([tmp_path / "runs"], out, allow_mixed=False)
    assert (out / "index.html").read_bytes() == before


@pytest.mark.parametrize("listed", [["thesis.pdf"], {"thesis.pdf": "my thesis"}])
def test_a_list_of_somebody_else_gives_nothing_away(undrawn: None, listed: object, tmp_path: Path) -> None:
    """Every file that it names was removed."""
    write_run(tmp_path / "runs", "csg")
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.pdf").write_text("mine")
    (out / "files.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match=r"out/files\.json: not from csg-report"):
        build_report([tmp_path / "runs"], out, allow_mixed=False)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "thesis.pdf": "mine",
        "files.json": json.dumps(listed),
    }


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
    return build_report([root / "runs"], root / "out", allow_mixed=False).parent


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


def test_long_names_of_classes_leave_the_confusion_its_room(tmp_path: Path) -> None:
    write_run(tmp_path, "baseline", classes=["great white shark, white shark, man-eater, man-eating shark", "fish"])
    with plain():
        figure = confusion(rows_of(tmp_path)).draw()
        figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.2  # of half the figure


def test_of_many_classes_the_page_has_a_table_and_no_matrix(tmp_path: Path) -> None:
    """300 classes took a minute and 50 MB of page for squares that nobody could tell apart."""
    write_run(tmp_path / "runs", "baseline", classes=[f"class{i}" for i in range(41)])
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert not (out / "figures/confusion.svg").exists()
    assert "confusion.png" not in (out / "index.html").read_text() + (out / "report.md").read_text()
    rows = json.loads((out / "tables/confusion.json").read_text())["rows"]
    assert rows
    assert all(row["share"] > 0 for row in rows)


def test_pairs_too_few_for_an_interval_lie_on_the_line_of_their_row(tmp_path: Path) -> None:
    for method in ("baseline", "csg"):
        write_run(tmp_path, method)
    with plain():
        figure = differences(rows_of(tmp_path)).draw()
    (line,) = figure.axes[0].get_yticks()
    assert [np.asarray(dots.get_offsets())[:, 1].tolist() for axes in figure.axes for dots in axes.collections] == [
        [line],
        [line],
    ]


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
    assert len(figures) == 6
    assert all((report / figure).is_file() for figure in figures)


def test_command_prints_where_the_report_is(
    undrawn: None, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.parent)
    result = command("--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/index.html").is_file()


def test_the_authors_remarks_are_a_footnote_once_and_escaped(undrawn: None, tmp_path: Path) -> None:
    """Lines of ``remarks.txt`` beside the runs, under a label; verify knows them too."""
    for seed in (0, 1):
        write_run(tmp_path / "runs", "csg", seed)
    (tmp_path / "runs" / "remarks.txt").write_text("weights from <held-out> styles\n\n")
    out = tmp_path / "out"
    build_report([tmp_path / "runs"], out, allow_mixed=False)
    page = (out / "index.html").read_text()
    assert page.count("The author remarks: weights from &lt;held-out&gt; styles") == 1
    assert verify_report(out, []).faults == []
    (tmp_path / "runs" / "remarks.txt").write_text("weights from the target\n")
    assert any("index.html" in fault for fault in verify_report(out, []).faults)


def test_a_field_of_one_row_alone_is_a_column_of_all() -> None:
    table = Table("t", "t", [], [], [{"a": 1}, {"a": 2, "b": 3}])
    assert to_csv(table) == "a,b\n1,\n2,3\n"


def test_a_tint_stays_between_none_and_all() -> None:
    assert [Cell("", heat=heat).level for heat in (None, -0.5, 0.0, 0.5, 1.0, 1.5)] == [None, 0, 0, 10, 20, 20]


def test_an_end_that_is_not_0_does_not_read_as_0() -> None:
    """“[0.0, +4.0]” stood beside “shown: the interval excludes 0”."""
    assert ends((0.0003, 0.04), 1, scale=100) == "[+0.03,\u00a0+4.00]"
    assert ends((-0.2, 0.0), 1) == "[\u22120.2,\u00a00.0]"
    assert ends((-1e-17, 0.2), 1) == "[0.0,\u00a0+0.2]"  # rounding
    assert ends((0.01, 0.2), 1, scale=10) == "[+0.1,\u00a0+2.0]"


def test_the_sign_of_a_number_that_is_shown_as_zero_is_left_out() -> None:
    shown = [signed(value, 2) for value in (0.004, -0.004, 0.006, -0.006)]
    assert shown == ["0.00", "0.00", "+0.01", "\N{MINUS SIGN}0.01"]
