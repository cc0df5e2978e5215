"""``csg-report build --beside``: another report's table, copied with its hash, and verified without that report."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from csg_analysis.report.build import build_report, listed_files
from csg_train.files import sha256_file
from tests.analysis.report.cases import HELP, command, refused, visible_text, write_all, write_run

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one/report`` of a single seed, built beside ``many/report`` of three; read only."""
    root = tmp_path_factory.mktemp("beside")
    write_all(root / "many/runs", HELP)
    build_report([root / "many/runs"], root / "many/report", allow_mixed=False)
    for method in HELP:
        write_run(root / "one/runs", method)
    build_report([root / "one/runs"], root / "one/report", allow_mixed=False, beside=root / "many/report")
    return root


@pytest.fixture
def own(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(built, tmp_path / "own")


def test_the_section_shows_that_reports_numbers_and_says_where_they_are_from(built: Path) -> None:
    page = (built / "one/report/index.html").read_text()
    text = visible_text(page)
    section = text[text.index("Another report: 3 runs of each method") :]
    digest = sha256_file(built / "many/report/tables/methods.json")
    assert f"SHA-256 {digest[:12]}" in section
    assert "many/report" in section
    assert 'href="../../many/report/index.html"' in page
    assert "62.3 ± 2.1" in section
    assert "+10.3" in section
    assert digest in (built / "one/report/report.md").read_text()
    assert page.index('id="summary"') < page.index('id="beside"') < page.index('id="methods"')


def test_the_table_is_kept_byte_for_byte(built: Path) -> None:
    kept = (built / "one/report/tables/beside.json").read_bytes()
    assert kept == (built / "many/report/tables/methods.json").read_bytes()
    assert listed_files(built / "one/report")["tables/beside.json"] == hashlib.sha256(kept).hexdigest()


def test_it_is_verified_without_the_other_report(own: Path) -> None:
    shutil.rmtree(own / "many")
    result = command(own / "one/report", name="verify")
    assert result.exit_code == 0, result.output
    path = own / "one/report/tables/beside.json"
    path.write_text(path.read_text().replace("62.33", "72.33"))
    result = command(own / "one/report", name="verify")
    assert "tables/beside.json: changed after the report was built" in result.output


def test_an_edited_copy_with_an_adapted_hash_is_not_what_the_page_shows(own: Path) -> None:
    report = own / "one/report"
    path = report / "tables/beside.json"
    path.write_text(path.read_text().replace("62.33", "72.33"))
    files = json.loads((report / "files.json").read_text())
    (report / "files.json").write_text(json.dumps(files | {"tables/beside.json": sha256_file(path)}, indent=1) + "\n")
    result = command(report, name="verify")
    assert result.exit_code == 2
    assert "index.html: line " in result.output


def test_building_again_without_it_removes_it(own: Path) -> None:
    build_report([own / "one/runs"], own / "one/report", allow_mixed=False)
    assert not list((own / "one/report").rglob("*beside*"))
    assert command(own / "one/report", name="verify").exit_code == 0


def test_what_is_no_report_is_one_line(own: Path) -> None:
    arguments = (own / "one/runs", "--out", own / "new", "--beside")
    line = refused(*arguments, own / "nowhere")
    assert "tables/methods.json: No such file or directory; give --beside the folder of a report" in line
    path = own / "many/report/tables/methods.json"
    empty = '{"title": "t", "notes": [], "rows": []}'
    for damage in ("{", "[]", empty, empty.replace("[]}", '[{"a": 1}]}')):
        path.write_text(damage)
        assert "methods.json: not this version's table of methods" in refused(*arguments, own / "many/report")
    path.write_bytes(b"\xff")
    assert "not this version's table of methods" in refused(*arguments, own / "many/report")
    assert not (own / "new").exists()


def test_names_of_the_other_report_are_text(own: Path) -> None:
    path = own / "many/report/tables/methods.json"
    path.write_text(path.read_text().replace('"row": "csg"', '"row": "<script>alert(1)</script>"'))
    moved = (own / "many/report").rename(own / "javascript:alert(1)")
    page = build_report([own / "one/runs"], own / "new", allow_mixed=False, beside=moved).read_text()
    assert page.count("<script") == 1
    assert 'href="../javascript%3Aalert%281%29/index.html"' in page


def edited(report: Path, **fields: float) -> None:
    """Fields of every row but the baseline's in the other report's table."""
    path = report / "tables/methods.json"
    found = json.loads(path.read_text())
    for row in found["rows"]:
        row |= {} if row["method"] == "baseline" else fields
    path.write_text(json.dumps(found))


def test_the_interval_beside_is_the_one_that_decides_there(own: Path) -> None:
    """CSG is shown to be better over seeds alone; over pictures too it is not, and then that report says so."""
    build = {"roots": [own / "one/runs"], "out": own / "new", "allow_mixed": False, "beside": own / "many/report"}
    text = visible_text(build_report(**build).read_text())
    section = text[text.index("Another report: ") : text.index("Methods Hyperspherical")]
    assert "points, over seeds alone" in section
    assert "seeds and pictures" not in section
    name = "mean_per_class_percent_minus_baseline_pictures"
    edited(own / "many/report", **{f"{name}_low": -7, f"{name}_high": 28})
    text = visible_text(build_report(**build).read_text())
    section = text[text.index("Another report: ") : text.index("Methods Hyperspherical")]
    assert "points, over seeds and pictures" in section
    assert "ΔE₀ over seeds alone" in section
    assert "+28.0] inconclusive" in section
