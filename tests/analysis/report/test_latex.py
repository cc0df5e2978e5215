"""Tables as LaTeX: what is escaped, what stands in each line, one file beside every CSV."""

import re
from pathlib import Path

import pytest

from csg_analysis.report.latex import escape, to_latex
from csg_analysis.report.tables import Cell, Column, Table
from tests.analysis.report.cases import built_text, write_run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% of a_b & #1 {x} $y$", r"50\% of a\_b \& \#1 \{x\} \$y\$"),
        (r"a\b", r"a\textbackslash{}b"),
        ('say "so"', r"say \char34{}so\char34{}"),  # \textquotedbl would end a document in OT1 with an error
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("\N{MINUS SIGN}0.4 ± 1", r"$-$0.4 $\pm$ 1"),
        ("ΔE₀ \N{EN DASH} log 1/d²", r"$\Delta$E$_0$ -- log 1/d$^2$"),
        ("E₁ E₂ ↑ ↓ →", r"E$_1$ E$_2$ $\uparrow$ $\downarrow$ $\rightarrow$"),
        ("“so”", "``so''"),
        ("a--b ---", "a-{}-b -{}-{}-"),
        ("one\ntwo\n", "one; two"),
        ("a\x00b\tc", "abc"),
        ("ﬁsch Zürich", "ﬁsch Zürich"),
    ],
)
def test_text_is_printed_as_it_is(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_a_table_line_by_line() -> None:
    table = Table(
        name="my_table",
        title="E₀ & more",
        columns=[Column("Method", numeric=False), Column("E₀", "mhe")],
        rows=[[Cell("[A] x_y"), Cell("0.5", note="n = 2", strong=True)], [Cell("*"), Cell("1")]],
        data=[],
        notes=["100% of\nit"],
    )
    assert to_latex(table).splitlines() == [
        r"% \usepackage{booktabs}",
        "% 100% of it",
        r"\begin{table}",
        r"\centering",
        r"\caption{E$_0$ \& more}",
        r"\label{tab:my-table}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Method & E$_0$ \\",
        r" & {\scriptsize mhe} \\",
        r"\midrule",
        r"{}[A] x\_y & \textbf{0.5} {\scriptsize n = 2} \\",
        r"{}* & 1 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_a_table_without_columns_is_written_from_its_data() -> None:
    table = Table("t", "t", [], [], [{"true": "a_b", "share": 0.25}, {"true": "c", "share": None}])
    lines = to_latex(table).splitlines()
    assert r"\begin{tabular}{lr}" in lines
    assert [line for line in lines if line.endswith(r"\\")] == [
        r"true & share \\",
        r"a\_b & 0.2500 \\",
        r"c & -- \\",
    ]


def test_every_table_of_a_report_has_its_latex(report: Path) -> None:
    stems = {path.stem for path in (report / "tables").glob("*.csv")}
    assert {path.stem for path in (report / "tables").glob("*.tex")} == stems
    page = (report / "index.html").read_text()
    for stem in stems:
        lines = (report / f"tables/{stem}.tex").read_text().splitlines()
        body = [line for line in lines if line.endswith(r"\\")]
        (columns,) = [re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", line) for line in lines if "{tabular}{" in line]
        assert columns is not None
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(columns[1]) - 1}
        assert f'href="tables/{stem}.tex"' in page


def test_hostile_names_open_no_command(undrawn: None, tmp_path: Path) -> None:
    """A class named as a command and a line break: no command of its own, balanced braces, one line."""
    built_text(
        write_run(tmp_path / "runs", "csg", classes=[r"\input{/etc/passwd}", "}%\n\\\\"]).parent, tmp_path / "out"
    )
    for path in (tmp_path / "out/tables").glob("*.tex"):
        text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("%"))
        assert r"\input" not in text
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")
