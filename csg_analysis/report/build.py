"""Writing a report folder: every file is computed first, then written; files of an older report are removed."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from csg_analysis.drawing.svg import to_both, to_png
from csg_analysis.report.beside import read_beside
from csg_analysis.report.gallery import contact_chart
from csg_analysis.report.latex import to_latex
from csg_analysis.report.load import Run, load_runs, unmeasured
from csg_analysis.report.mask_gallery import mask_chart
from csg_analysis.report.page import Report, make_report, render_markdown, render_page
from csg_analysis.report.tables import to_csv, to_json
from csg_train.errors import UserError
from csg_train.files import atomic_write, lies_in, together
from csg_train.names import unfit
from csg_train.program import undivided

__all__ = ["FILES", "build_report", "kept_unmeasured", "listed_files", "report_files"]

FILES = "files.json"
"""Every other file of the report and its SHA-256."""
_UNMEASURED = "unmeasured.json"
"""Names of runs that were begun and have no record, where there are some."""
_PAGES = {"index.html", "report.md"}
"""What each report has: a list without them is somebody else's."""


def build_report(roots: Sequence[Path], out: Path, *, allow_mixed: bool, beside: Path | None = None) -> Path:
    """Build the report of all runs at or below ``roots`` in the folder ``out``, ``beside`` another report's table.

    Returns:
        Path of the page.

    Raises:
        UserError: No records, damaged or incomparable records, no report ``beside``, or the folder cannot be written or
            is one from which a run reads its pictures.
    """
    other = None if beside is None else read_beside(beside, out)
    runs = load_runs(roots)
    _require_outside_pictures(out, runs)
    report = make_report(runs, allow_mixed=allow_mixed, beside=other, unmeasured=unmeasured(roots))
    files = report_files(report)
    old = _old_files(out)
    if foreign := sorted(name for name in files if out / name not in old and (out / name).exists()):
        raise UserError(f"{out / foreign[0]}: not from csg-report, which would overwrite it; choose another --out")
    with contextlib.ExitStack() as moment:
        with together(out) as work:
            for name in sorted(files):
                _write(work / name, files[name])
            moment.enter_context(undivided())
        for path in sorted(old - {out / name for name in files}):
            path.unlink(missing_ok=True)
    return out / "index.html"


def _require_outside_pictures(out: Path, runs: Sequence[Run]) -> None:
    """Its figures would be pictures of the next run, and its folders classes."""
    for run in runs:
        data = run.recipe.get("data")
        for split, domain in data.items() if isinstance(data, dict) else ():
            if not isinstance(domain, dict) or domain.get("dataset") not in ("folder", "pictures"):
                continue
            if lies_in(out, root := Path(str(domain.get("root")))):
                raise UserError(
                    f"{out}: in {root}, from which data.{split} of {run.folder} reads; choose another --out"
                )


def report_files(report: Report) -> dict[str, bytes]:
    """Content of every file of the report by its path in the folder; equal records give equal bytes."""
    drawn = {name: to_both(chart.draw, name, chart.alt) for name, chart in report.charts.items()}
    inline = {name: svg for name, (svg, _) in drawn.items()}
    files = {"index.html": render_page(report, inline), "report.md": render_markdown(report)}
    for table in report.tables.values():
        files[f"tables/{table.name}.csv"] = to_csv(table)
        files[f"tables/{table.name}.json"] = to_json(table)
        files[f"tables/{table.name}.tex"] = to_latex(table)
    files |= {f"figures/{name}.svg": svg for name, svg in inline.items()}
    content = {name: text.encode() for name, text in files.items()}
    content |= {f"figures/{name}.png": png for name, (_, png) in drawn.items()}
    if report.beside is not None:
        content |= report.beside.files
    if report.unmeasured:
        content[_UNMEASURED] = (json.dumps(report.unmeasured, indent=1) + "\n").encode()
    if report.gallery is not None:
        content["figures/gradcam.png"] = to_png(contact_chart(report.gallery).draw)
    for chart in map(mask_chart, report.masks):
        content[f"figures/{chart.name}.png"] = to_png(chart.draw)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())}
    content[FILES] = (json.dumps(hashes, indent=1) + "\n").encode()
    return content


def _write(path: Path, content: bytes) -> None:
    atomic_write(path, lambda stream: stream.write(content))


def kept_unmeasured(out: Path) -> list[str]:
    """The runs that a report says were not measured then; of a damaged list, whose hash has changed, none."""
    try:
        names = json.loads((out / _UNMEASURED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _old_files(out: Path) -> set[Path]:
    """Files of an older report in this folder, as its own list names them, and the list; never one outside it."""
    if not (out / FILES).is_file() or not (listed := listed_files(out)).keys() >= _PAGES:
        return set()
    root = out.resolve()
    return {out / name for name in (FILES, *listed) if (out / name).resolve().is_relative_to(root)}


def listed_files(out: Path) -> dict[str, str]:
    """The report's files and the SHA-256 of each, as its own list says; ``""`` where an older one has none.

    Raises:
        UserError: There is no list, or it is damaged.
    """
    path = out / FILES
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        named = dict(found) if isinstance(found, dict) else dict.fromkeys(found, "")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the folder of a report (csg-report build)") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a report's list of files; remove it or choose another folder") from error
    if not all(isinstance(text, str) for pair in named.items() for text in pair) or any(map(unfit, named)):
        raise UserError(f"{path}: not a report's list of files; remove it or choose another folder")
    return named
