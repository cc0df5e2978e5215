"""A table as LaTeX for ``booktabs``: what the page shows, escaped; the footnotes as comments above it."""

from collections.abc import Iterator, Sequence

from csg_analysis.drawing.numbers import DASH
from csg_analysis.report.tables import Cell, Column, Table, Value

__all__ = ["escape", "to_latex"]

_LETTERS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # \textquotedbl is an error in OT1, the font encoding of most papers
    "`": r"\textasciigrave{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{EN DASH}": "--",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{SUBSCRIPT ZERO}": "$_0$",
    "\N{SUBSCRIPT ONE}": "$_1$",
    "\N{SUBSCRIPT TWO}": "$_2$",
    "\N{SUPERSCRIPT TWO}": "$^2$",
}
_LIGATURES = {("-", "-"), ("'", "'")}
"""Pairs that LaTeX would print as one sign."""


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line, in the font encodings OT1 and T1."""
    joined = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    kept = [letter for letter in joined if letter.isprintable() or letter in _LETTERS]
    apart = ["{}" if pair in _LIGATURES else "" for pair in zip(["", *kept], kept, strict=False)]
    return "".join(gap + _LETTERS.get(letter, letter) for gap, letter in zip(apart, kept, strict=True))


def to_latex(table: Table) -> str:
    """A ``table`` of ``booktabs`` with caption and label; one without columns is written from its data."""
    columns, rows = (table.columns, table.rows) if table.columns else _from_data(table)
    lines = [
        "% \\usepackage{booktabs}",
        *(f"% {' '.join(note.split())}" for note in table.notes),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in columns)}}}",
        r"\toprule",
        _line([escape(column.label) for column in columns]),
        *([_line([_scriptsize(column.hint) for column in columns])] if any(c.hint for c in columns) else []),
        r"\midrule",
        *_body(table, columns, rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _body(table: Table, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[str]:
    groups = table.groups if table.columns else [("", list(rows))]
    for name, own in groups:
        if name:
            yield rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{escape(name)}}}}} \\"
        yield from (_line([_cell(cell) for cell in row]) for row in own)


def _line(cells: Sequence[str]) -> str:
    first = cells[0] if cells else ""
    guarded = f"{{}}{first}" if first.startswith(("[", "*")) else first  # else an argument of the line break above
    return " & ".join([guarded, *cells[1:]]) + r" \\"


def _cell(cell: Cell) -> str:
    text = rf"\textbf{{{escape(cell.text)}}}" if cell.strong else escape(cell.text)
    return " ".join(part for part in (text, _scriptsize(cell.note)) if part)


def _scriptsize(text: str) -> str:
    return rf"{{\scriptsize {escape(text)}}}" if text else ""


def _from_data(table: Table) -> tuple[list[Column], list[list[Cell]]]:
    names = list(dict.fromkeys(name for record in table.data for name in record))
    numeric = {name: all(not isinstance(record.get(name), str) for record in table.data) for name in names}
    columns = [Column(name, numeric=numeric[name]) for name in names]
    return columns, [[Cell(_plain(record.get(name))) for name in names] for record in table.data]


def _plain(value: Value) -> str:
    if value is None:
        return DASH
    return f"{value:.4f}" if isinstance(value, float) else str(value)
