"""Three statements computed from the data; none is made that an interval does not carry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from csg_analysis.report import format as fmt
from csg_analysis.report.chart import FEW
from csg_analysis.report.course import energy_course, on_the_way
from csg_analysis.report.kinds import KINDS
from csg_analysis.report.part import span
from csg_analysis.report.rows import (
    BASELINE,
    FROZEN,
    Row,
    comparisons,
    energy,
    on_target,
    reference,
    score,
    to_baseline,
    wording,
)
from csg_analysis.report.stats import LEVEL, Difference
from csg_analysis.report.unlabelled import UNKNOWN, unknown_score
from csg_analysis.report.wording import capital

__all__ = ["Statement", "summarize"]


@dataclass(frozen=True)
class Statement:
    """One sentence of the summary.

    Attributes:
        question: What it answers.
        text: The sentence.
        verdict: A few words.
        tone: ``good``, ``bad`` or ``plain``.
    """

    question: str
    text: str
    verdict: str
    tone: str = "plain"


def summarize(rows: Sequence[Row]) -> list[Statement]:
    """What was run; whether training collapses the features; whether a method helps on the target.

    In a mixed report the last two are said once for each group.
    """
    statements = [_what(rows)]
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        statements += [_collapse(own, group), _help(own, group)]
    return statements


def _of_group(question: str, group: str) -> str:
    return f"{question} (group {group})" if group else question


def _what(rows: Sequence[Row]) -> Statement:
    runs = [run for row in rows for run in row.runs]
    sources = sorted({run.info.source for run in runs})
    seeds = sorted({run.info.seed for run in runs})
    targets = sorted({f"{data.count} target pictures ({data.name})" for run in runs for data in on_target(run)})
    measured = f", measured on {' / '.join(targets)}" if targets else ", not yet measured on a target"
    text = (
        f"{_count(len(runs), 'run')} of {_methods(rows)}, "
        f"trained on {_count(len(sources), 'synthetic source')} ({', '.join(sources)}) "
        f"with {_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))}){measured}."
    )
    return Statement("What was run?", text, _count(len(runs), "run"))


def _methods(rows: Sequence[Row]) -> str:
    named = [(kind, own) for kind in KINDS if (own := [row.label for row in rows if row.kind == kind])]
    if len(named) == 1:
        return f"{_count(len(rows), 'method')} ({', '.join(named[0][1])})"
    parts = [f"{kind[:1].lower()}{kind[1:]} ({', '.join(own)})" for kind, own in named]
    return f"{len(rows)} rows: {'; '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _collapse(rows: Sequence[Row], group: str) -> Statement:
    question = _of_group("Does training collapse the features?", group)
    base, frozen = reference(rows, BASELINE, group), reference(rows, FROZEN, group)
    count = comparisons(rows, group, energy("0"))
    found = base.against(frozen, energy("0"), count) if base and frozen else None
    if found is None or base is None or frozen is None:
        need = f"energies of {BASELINE} and {FROZEN} from the same source and seed"
        return Statement(question, f"This cannot be said: {need} are needed.", "not measured")
    high, low = base.spread(energy("0")), frozen.spread(energy("0"))
    assert high is not None
    assert low is not None
    facts = (
        f"E₀ (mhe) on the target is {fmt.fixed(low.mean, 3)} for the frozen features ({FROZEN}) and "
        f"{fmt.fixed(high.mean, 3)} after plain training ({BASELINE}): {fmt.difference(found, 3)} "
        f"{_bracket(fmt.interval(found, 3))} over {_count(found.n, 'pair')}{_how(found)}"
    )
    statement = {
        "higher": Statement(question, f"Yes: {facts}; the features lose diversity.", "collapse shown", "bad"),
        "lower": Statement(question, f"No: {facts}; the features gain diversity.", "no collapse", "good"),
        "none": Statement(question, f"{facts}: no difference can be shown.", "not shown"),
        "few": Statement(question, f"{facts}.", "too few runs"),
    }[found.sign]
    if not (way := on_the_way(rows, energy_course("target"))):
        return statement
    statement = replace(statement, text=f"{statement.text} {way}")
    if found.sign == "higher":
        return statement
    end = "not at the end" if found.sign == "lower" else "not shown at the end"
    return replace(statement, verdict=f"during training, {end}", tone="plain")


_SHOWN = (("higher", "improvement shown", "good"), ("lower", "drop shown", "bad"))


def _help(rows: Sequence[Row], group: str) -> Statement:
    question = _of_group("Do the methods help on real pictures?", group)
    words = wording(rows)
    found = [
        (row, difference) for row in rows if row.method != FROZEN and (difference := to_baseline(row, rows, score()))
    ]
    if not found and (sentence := unknown_score(run for row in rows for run in row.runs)):
        return Statement(question, sentence, UNKNOWN)
    if not found:
        need = f"target {words.short} of {BASELINE} and of another method from the same source and seed"
        return Statement(question, f"This cannot be said: {need} are needed.", "not measured")
    few = len(found) <= FEW
    parts = [
        f"{row.label} {fmt.difference(value, 1, scale=100)} points {_interval(value)} over "
        f"{_count(value.n, 'pair')}{_meaning(value.sign)}"
        for row, value in found
        if value.sign in ("higher", "lower") or (few and value.sign == "few")
    ]
    if few and (equal := [(row, value) for row, value in found if value.sign == "none"]):
        pairs = f"{span([value.n for _, value in equal])} pairs{' each' if len(equal) > 1 else ''}"
        names = ", ".join(
            f"{row.label} {fmt.difference(value, 1, scale=100)} {_interval(value)}" for row, value in equal
        )
        parts.append(f"no difference can be shown, in points over {pairs}, for {names}")
    if not few and len(parts) < len(found):
        rest = f"{len(found) - len(parts)} {'more' if parts else 'rows'}"
        parts.append(f"for {rest} no difference can be shown (chart)")
    how = _how(*(value for _, value in found))
    text = f"{capital(words.score)} on the target against the baseline{how}: {'; '.join(parts)}."
    signs = {value.sign for _, value in found}
    if signs == {"few"}:
        single = "One pair of runs each: these differences may be chance. " if all(v.n == 1 for _, v in found) else ""
        return Statement(question, f"{single}{text}", "too few runs")
    if {"higher", "lower"} <= signs:
        return Statement(question, text, "differs by method")
    for sign, shown, tone in _SHOWN:
        if count := sum(value.sign == sign for _, value in found):
            of = "" if count == len(found) else f" for {count} of {len(found)}"
            return Statement(question, text, f"{shown}{of}", tone)
    return Statement(question, text, "no difference shown")


def _how(*values: Difference) -> str:
    """Which intervals the brackets hold; nothing where none has one."""
    counts = {value.comparisons for value in values if value.sign != "few"}
    if not counts:
        return ""
    over = " over seeds and pictures" if all(value.crossed for value in values if value.sign != "few") else ""
    adjusted = f"simultaneous {LEVEL:.0%} intervals{over}, Bonferroni for {max(counts)} comparisons"
    return f" (in brackets {adjusted if max(counts) > 1 else f'the {LEVEL:.0%} interval{over}'})"


def _bracket(text: str) -> str:
    return text if text.startswith("[") else f"({text})"


def _interval(value: Difference) -> str:
    return _bracket(fmt.interval(value, 1, scale=100))


def _meaning(sign: str) -> str:
    return {
        "few": "",
        "higher": ": higher, the interval excludes 0",
        "lower": ": lower, the interval excludes 0",
    }[sign]
