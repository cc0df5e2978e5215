"""Tables of a page, and those of what pytest-benchmark timed."""

from collections.abc import Sequence
from typing import Any

__all__ = ["compared", "grouped", "table"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grouped(timed: dict[str, Any], test: str) -> dict[str, list[dict[str, Any]]]:
    """What ran of a test and then what was skipped, by group, in pytest-benchmark's JSON."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in [*timed["benchmarks"], *timed["skipped"]]:
        if run["name"].startswith(f"{test}["):
            groups.setdefault(run["group"], []).append(run)
    return groups


def compared(timed: dict[str, Any], test: str) -> str:
    """A table for each group: the median and the least time of every program; the first is 1 x."""
    tables = []
    for group, (base, *others) in grouped(timed, test).items():
        rows = []
        for run in (base, *others):
            name = str(run["params"]["program"])
            if "reason" in run:
                rows.append([f"{name}: {run['reason']}", *["-"] * (4 + len(base["extra_info"]))])
                continue
            pairs = [(run["stats"][which], base["stats"][which]) for which in ("median", "min")]
            cells = [cell for own, one in pairs for cell in (f"{own:.3f} s", f"{own / one:.2f} x")]
            rows.append([name, *cells, *run["extra_info"].values()])
        tables.append(table([group, "median", "ratio", "least", "ratio", *base["extra_info"]], rows))
    return "\n\n".join(tables)
