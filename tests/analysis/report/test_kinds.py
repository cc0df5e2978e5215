"""Groups of rows: the paper's methods, rivals, combinations; and what may stand beside a published number."""

import re
from typing import Any

import pytest

from csg_analysis.report.build import build_report
from csg_analysis.report.kinds import COMBINATION, PAPER, RIVAL, kind_of
from csg_analysis.report.summary import summarize
from csg_train.methods.table import PLACES
from csg_train.runs.labels import name_of
from csg_train.runs.records import RunInfo
from tests.analysis.report.cases import MEAN, rows_of, sha, table, write_run

pytestmark = pytest.mark.usefixtures("sketched")


def info(method: str, options: dict[str, Any] | None = None, **config: Any) -> RunInfo:
    return RunInfo(
        recipe="tiny",
        method=method,
        method_config=config,
        seed=0,
        backbone="resnet18",
        weights=sha("w"),
        source="clean",
        source_identity=sha("s"),
        step=1,
        checkpoint_sha256=sha("c"),
        versions={},
        options=options or {},
    )


@pytest.mark.parametrize(
    ("run", "name", "kind"),
    [
        (info("csg", weight=0.1, asg_weight=0.0), "csg", PAPER),
        (info("csg", asg_weight=0.1), "csg + ASG", COMBINATION),
        (info("csg", {"average": "swad", "every": 50}), "csg + SWAD", COMBINATION),
        (info("csg", {"augment": "pasta"}), "csg + PASTA", COMBINATION),
        (info("csg", {"frozen": ["layer1", "layer2"]}), "csg + frozen layer1, layer2", COMBINATION),
        (info("asg", {"probe": 50}), "asg + LP-FT", COMBINATION),
        (info("miro", distance="ldifs"), "miro", RIVAL),
        (info("gcisg", {"average": "ema"}), "gcisg + EMA", COMBINATION),
        (info("baseline", {"probe": 50}), "baseline + LP-FT", RIVAL),
        (info("baseline", {"average": "ema"}), "baseline + EMA", RIVAL),
        (info("baseline", {"augment": "augmix"}), "baseline + AugMix", RIVAL),
        (info("baseline", {"average": "soup", "runs": 3}), "baseline + soup", RIVAL),
        (info("baseline", {"probe": 50, "average": "wise-ft", "average_alpha": 0.5}), "baseline + WiSE-FT", RIVAL),
        (info("baseline", {"probe": 50, "average": "swad"}), "baseline + LP-FT + SWAD", COMBINATION),
        (info("mine"), "mine", RIVAL),
    ],
)
def test_names_and_kinds(run, name, kind):
    assert (name_of(run), kind_of(run)) == (name, kind)


def test_alone_the_papers_methods_are_the_papers():
    """A method that is added is a rival."""
    paper = {
        "oracle",
        "baseline",
        "ibn-net",
        "domain-randomization",
        "weight-l2",
        "ewc",
        "si",
        "feature-l2",
        "asg",
        "csg",
    }
    assert {name for name in PLACES if kind_of(info(name)) == PAPER} == paper


ADDED = (
    ("averaged", {"options": {"average": "ema"}, "averaged": MEAN | {"rule": "ema"}}),
    ("pasta", {"options": {"augment": "pasta"}}),
    ("frozen", {"options": {"frozen": ["layer1"]}}),
    ("probe", {"options": {"probe": 50}}),
    ("guided", {"method_config": {"asg_weight": 0.1}}),
)


@pytest.mark.parametrize("masks", [False, True], ids=["Table 1", "Table 5"])
def test_a_published_number_stands_beside_its_own_method_alone(tmp_path, masks):
    """CSG with something added is not the paper's CSG: no line in the paper's tables, no part in its order."""
    for seed in range(3):
        write_run(tmp_path / "runs/plain", "baseline", seed, masks=masks, right=50 + seed, attention=False)
        for name, changes in ADDED:
            write_run(tmp_path / f"runs/{name}", "csg", seed, masks=masks, right=60 + seed, attention=False, **changes)
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    name = "paper_segmentation" if masks else "paper"
    beside = {row["method"]: row["row"] for row in table(out, name)}
    assert beside["csg"] is None
    assert beside["baseline"] == "baseline"
    assert "csg +" not in str(beside)
    assert table(out, "order") == []
    assert "no two methods are in both tables" in (out / "report.md").read_text()
    for seed in range(3):
        write_run(tmp_path / "runs/plain", "csg", seed, masks=masks, right=60 + seed, attention=False)
    build_report([tmp_path / "runs"], out, allow_mixed=False)
    assert {row["method"]: row["row"] for row in table(out, name)}["csg"] == "csg"
    assert [row["row"] for row in table(out, "order")] == ["csg"]


def test_kinds_head_their_rows_in_every_format(tmp_path):
    write_run(tmp_path / "runs/plain", "csg", attention=False)
    write_run(tmp_path / "runs/plain", "baseline", attention=False)
    write_run(tmp_path / "runs/swad", "csg", options={"average": "swad"}, averaged=MEAN, attention=False)
    write_run(tmp_path / "runs/probe", "baseline", options={"probe": 9}, attention=False)
    rows = rows_of(tmp_path)
    assert [row.label for row in rows] == ["baseline", "csg", "baseline + LP-FT", "csg + SWAD"]
    assert [row.kind for row in rows] == [PAPER, PAPER, RIVAL, COMBINATION]
    what = summarize(rows)[0].text
    assert "4 rows: the paper's methods (baseline, csg); rivals (baseline + LP-FT); combinations (csg + SWAD)" in what
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    page = (out / "index.html").read_text()
    methods = page[page.index('id="table-methods"') :].split("</table>")[0]
    heads = re.findall(r'class="group"><th[^>]*>([^<]*)', methods)
    assert heads == ["The paper&#39;s methods", "Rivals", "Combinations"]
    assert r"\multicolumn{9}{l}{\textit{Rivals}} \\" in (out / "tables/methods.tex").read_text()
    assert "| **Rivals** |" in (out / "report.md").read_text()
    assert [row["kind"] for row in table(out, "methods")] == [PAPER, PAPER, RIVAL, COMBINATION]
    plain = build_report([tmp_path / "runs/plain"], tmp_path / "alone", allow_mixed=False).read_text()
    assert 'class="group"' not in plain, "one kind needs no heading"


def test_many_rows_fold_what_grows_with_them(tmp_path):
    """Every number stays in the page; a reader opens what is long."""
    for place in range(12):
        write_run(tmp_path / f"runs/{place}", "csg", method_config={"weight": place}, attention=False)
    write_run(tmp_path / "runs", "baseline", attention=False)
    page = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).read_text()
    folded = re.findall(r'<details class="table[^>]*>\n<summary[^>]*>([^<]*)', page)
    assert [title for title in folded if title.startswith(("Confusion", "Every run on the target (13 rows)"))] != []
    assert not [title for title in folded if title.startswith("Hyperspherical energy")], "the main table stays open"
    few = build_report([tmp_path / "runs/0", tmp_path / "runs/1"], tmp_path / "few", allow_mixed=False).read_text()
    assert "<details" not in few
