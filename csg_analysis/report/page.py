"""From runs to the text of the page and of the Markdown file. Nothing is written here."""

import base64
import functools
import hashlib
import importlib.resources
import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from csg_analysis.report import (
    attention_part,
    choosing_part,
    class_pairs_part,
    cost_part,
    course_part,
    curves,
    figures,
    gallery,
    mask_gallery,
    method_tables,
    paper,
    paper_order,
    paper_segmentation,
    run_tables,
    segmentation_part,
    similarity_part,
    sphere_part,
)
from csg_analysis.report import format as fmt
from csg_analysis.report.beside import Beside
from csg_analysis.report.chart import FEW, Chart
from csg_analysis.report.compare import check_comparable, check_same_target, notices, unmeasured_notices
from csg_analysis.report.comparisons import comparison_table
from csg_analysis.report.headline import headline
from csg_analysis.report.load import Run
from csg_analysis.report.part import Part
from csg_analysis.report.rows import (
    BASELINE,
    Measure,
    Row,
    energy,
    make_rows,
    on_target,
    reference,
    score,
    wording,
)
from csg_analysis.report.scale import scale_rows, scale_table
from csg_analysis.report.stats import (
    LEVEL,
    MIN_METHODS,
    MIN_PAIRS,
    RESAMPLES,
    fewest_groups,
    rank_correlation,
    rank_correlation_interval,
    shared_pairs,
)
from csg_analysis.report.summary import Statement, summarize
from csg_analysis.report.tables import Table
from csg_analysis.report.unlabelled import unknown_score
from csg_analysis.report.wording import Wording
from csg_train import __version__
from csg_train.errors import UserError
from csg_train.names import in_markdown

__all__ = ["Report", "make_report", "render_markdown", "render_page"]

_PARTS = (
    *(cost_part.cost_part, course_part.course_part, class_pairs_part.class_pairs_part, attention_part.attention_part),
    *(similarity_part.similarity_part, sphere_part.sphere_part, segmentation_part.segmentation_part),
    choosing_part.choosing_part,
)


@dataclass(frozen=True)
class Report:
    """Everything that the templates show.

    Attributes:
        title: What was trained on and tested on.
        statements: The summary.
        notices: What a reader should know first.
        differing: Settings that differ in a mixed report.
        tables: By name; a section without data has none.
        charts: By name.
        gallery: GradCAM, if recorded.
        masks: Predicted masks, by split, where some are recorded.
        parts: Sections of the records that only some runs have; their tables and charts are in the mappings too.
        paper_order: How the order of methods agrees with the paper's.
        correlation: Sentences on energy against the score.
        measured: Whether any run has ``energy`` and ``score`` on the target.
        unknown_score: That the target has no labels, so that its score is unknown; empty where it has.
        words: What the task's numbers are called.
        checkpoint: The checkpoint file of a run that csg-analyze should measure.
        beside: Another report's table, shown after the summary.
        unmeasured: Runs that were begun and have no record.
    """

    title: str
    statements: list[Statement]
    notices: list[str]
    differing: dict[str, tuple[str, ...]]
    tables: dict[str, Table]
    charts: dict[str, Chart]
    gallery: gallery.Gallery | None
    masks: list[mask_gallery.MaskGallery]
    parts: list[Part]
    paper_order: list[str]
    correlation: str
    measured: dict[str, bool]
    unknown_score: str
    words: Wording
    checkpoint: str
    beside: Beside | None = None
    unmeasured: Sequence[str] = ()

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchor and label of each section that only some reports have."""
        masks = [
            (f"masks-{own.split}", "Masks" if own.split == "target" else f"Masks, {own.split}") for own in self.masks
        ]
        return [*masks, *((part.id, part.label) for part in self.parts)]


def make_report(
    every: Sequence[Run], *, allow_mixed: bool, beside: Beside | None = None, unmeasured: Sequence[str] = ()
) -> Report:
    """Compute every part of the report; runs for scale get a table of their own and no part in any other comparison.

    Raises:
        UserError: Runs are not comparable, or GradCAM arrays are missing or damaged.
    """
    runs = [run for run in every if run.for_scale is None]
    for_scale = [run for run in every if run.for_scale is not None]
    if not runs:
        raise UserError("every run is one for scale (for_scale in its recipe); give the methods' runs too")
    comparison = check_comparable(runs, allow_mixed=allow_mixed)
    check_same_target(runs, for_scale)
    rows = make_rows(runs, comparison)
    pictures, masks = gallery.make_gallery(rows), mask_gallery.mask_galleries(rows)
    parts = [part for make in _PARTS if (part := make(rows))]
    own = [*([beside.table] if beside else []), *(one.table for one in masks)]
    tables = _tables(rows, scale_rows(for_scale, first=len(rows)))
    return Report(
        title=_title(runs),
        statements=summarize(rows),
        notices=[*notices(runs), *unmeasured_notices(unmeasured)],
        unmeasured=unmeasured,
        differing=dict(comparison.differing),
        tables={table.name: table for table in [*tables, *own, *(t for part in parts for t in part.tables)]},
        charts={chart.name: chart for chart in [*_charts(rows), *(c for part in parts for c in part.charts)]},
        gallery=pictures,
        masks=masks,
        parts=parts,
        paper_order=paper_order.order_sentences(rows),
        correlation=_correlation(rows),
        measured={"energy": _measured(rows, energy("0")), "score": _measured(rows, score())},
        unknown_score=unknown_score(runs),
        words=wording(rows),
        checkpoint=f"RUN/{statistics.mode(run.checkpoint for run in runs)}",
        beside=beside,
    )


def _title(runs: Sequence[Run]) -> str:
    sources = sorted({run.info.source for run in runs})
    targets = sorted({data.name for run in runs for data in on_target(run)})
    first = sources[0] if len(sources) == 1 else f"{len(sources)} synthetic sources"
    return f"{first} → {' / '.join(targets) or 'target not measured'}"


def _measured(rows: Sequence[Row], *measures: Measure) -> bool:
    return any(all(measure(run) not in (None, math.inf) for measure in measures) for row in rows for run in row.runs)


def _tables(rows: Sequence[Row], for_scale: Sequence[Row]) -> list[Table]:
    tables = [
        method_tables.method_table(rows),
        comparison_table(rows),
        method_tables.split_table(rows),
        *_paper_tables(rows),
        paper_order.order_table(rows),
        run_tables.run_table([*rows, *for_scale]),
        run_tables.provenance_table([*rows, *for_scale]),
    ]
    if for_scale:
        tables.append(scale_table(for_scale))
    if _measured(rows, score()):
        tables += [method_tables.class_table(rows), figures.confusion_table(rows)]
    return tables


def _paper_tables(rows: Sequence[Row]) -> list[Table]:
    """The paper's table for each task that was run."""
    tables = []
    for task, table in (("classification", paper.paper_table), ("segmentation", paper_segmentation.gain_table)):
        if own := [row for row in rows if row.task == task]:
            tables.append(table(own))
    return tables


def _charts(rows: Sequence[Row]) -> list[Chart]:
    charts = [chart] if (chart := headline(rows)) else []
    if _measured(rows, score(), energy("0")):
        charts.append(figures.scatter(rows))
    if any((base := reference(rows, BASELINE, row.group)) and base is not row for row in rows):
        charts.append(figures.differences(rows))
    if _measured(rows, score()) and len(method_tables.class_names(rows)) <= figures.MOST_CLASSES:
        charts.append(figures.confusion(rows))
    return [*charts, *(chart for chart in (curves.loss_curves(rows), curves.selection_curves(rows)) if chart)]


def _correlation(rows: Sequence[Row]) -> str:
    sentences = [f"Spearman's rank correlation of E₀ and {wording(rows).short} over methods:"]
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        found = [(e, a) for row in own if (e := row.values(energy("0"))) and (a := row.values(score()))]
        name = f" (group {group})" if group else ""
        if len(found) < MIN_METHODS:
            text = f"not given below {MIN_METHODS} methods (here {len(found)})"
        elif any(len(values) < MIN_PAIRS for pair in found for values in pair):
            text = f"not given while a method has fewer than {MIN_PAIRS} runs"
        else:
            text = _value_and_interval(found)
        sentences.append(f"these runs{name}: {text};")
    return " ".join([*sentences, _published_correlation(rows)])


def _published_correlation(rows: Sequence[Row]) -> str:
    if all(row.task == "segmentation" for row in rows):
        return "the paper gives no energies for segmentation."
    theirs, count = paper.paper_correlation()
    how = f"n = {count} methods, one run each, so no interval; computed here"
    return f"published table: {fmt.fixed(theirs, 2)} ({how})."


def _value_and_interval(found: Sequence[tuple[Mapping[Hashable, float], Mapping[Hashable, float]]]) -> str:
    """Both of the same runs: those that all methods have, where they are a few."""
    first, second = [energies for energies, _ in found], [scores for _, scores in found]
    ends = rank_correlation_interval(first, second)
    pairs = shared_pairs([*first, *second])
    if len(pairs) < MIN_PAIRS:
        pairs = []
    shared = f" over the {len(pairs)} runs that all have" if any(len(own) > len(pairs) > 0 for own in first) else ""
    value = rank_correlation(*([_mean(own, pairs or own) for own in side] for side in (first, second)))
    text = f"n = {len(found)} methods, their means{shared}"
    if ends is None:
        return f"{fmt.fixed(value, 2)} ({text}; an interval takes {fewest_groups()} runs)"
    how = f"{LEVEL:.0%} bootstrap over the paired runs, {RESAMPLES} resamples"
    interval = f"{fmt.fixed(ends[0], 2)}, {fmt.fixed(ends[1], 2)}; {how}"
    return f"{fmt.fixed(value, 2)} [{interval}] ({text})"


def _mean(values: Mapping[Hashable, float], pairs: Iterable[Hashable]) -> float:
    return statistics.fmean(values[pair] for pair in pairs)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("csg_analysis.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["FEW"] = FEW
    environment.filters["md"] = lambda value: Markup(in_markdown(value))  # noqa: S704 - escaped
    return environment


def _asset(name: str) -> str:
    return importlib.resources.files("csg_analysis.report").joinpath("templates", name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render_page(report: Report, drawn: Mapping[str, str]) -> str:
    """The self-contained page: one style sheet and one script, both allowed by their hash alone.

    Args:
        report: What to show.
        drawn: SVG text of each chart.
    """
    style, script = _asset("style.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            report=report,
            drawn={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704 - matplotlib escapes names in it
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            version=__version__,
        )
    )


def render_markdown(report: Report) -> str:
    """The report as Markdown; figures are the PNG files beside it."""
    return _environment().get_template("report.md.j2").render(report=report, version=__version__)
