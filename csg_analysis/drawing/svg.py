"""Rendering: figures as SVG that a page with a strict CSP may embed, and as PNG; the same bytes each time."""

import contextlib
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = ["INK", "PAPER", "class_label", "plain", "plain_label", "to_both", "to_png", "to_svg"]

INK = "#1b1f27"
"""Text and lines: becomes ``currentColor`` in SVG."""
PAPER = "#fefefd"
"""Rims of markers: becomes the page's own background in SVG."""

_LETTERS = 24
"""Of a class's name in a figure, at most."""

_SETTINGS: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "csg-report",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """The library's defaults, whatever the user's matplotlibrc says; a letter that the font lacks is no fault."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams["text.parse_math"] = False
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        yield


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    with plain():
        mpl.rcParams.update(_SETTINGS)
        yield


def to_png(draw: Callable[[], Figure]) -> bytes:
    """A figure on white, 200 dots an inch."""
    with _settings():
        return _png(draw())


def to_svg(draw: Callable[[], Figure], name: str, alt: str) -> str:
    """A figure as SVG without style sheet, style attributes, metadata or header.

    Text stays text and takes the page's font; lines and text take its colour, so that it reads in the dark too.

    Args:
        draw: Makes the figure.
        name: Prefix of all ids, unique in the page.
        alt: The figure in words.
    """
    with _settings():
        return _embeddable(_svg(draw()), name, alt)


def to_both(draw: Callable[[], Figure], name: str, alt: str) -> tuple[str, bytes]:
    """One figure as `to_svg` and as `to_png`, laid out once."""
    with _settings():
        figure = draw()
        svg = _svg(figure)
        figure.set_layout_engine("none")  # what is placed stays there
        return _embeddable(svg, name, alt), _png(figure)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    FigureCanvasSVG(figure)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return stream.getvalue()


def _embeddable(text: str, name: str, alt: str) -> str:
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None
    body = text[text.index(">", text.index("<svg ")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'style="([^"]*)"', lambda match: _attributes(match[1]), body)
    body = re.sub(r'<g id="[^"]+"', "<g", body)  # nothing refers to groups
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = body.replace("xlink:href=", "href=").replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    body = body.replace(INK, "currentColor").replace(PAPER, "var(--paper, #fff)")
    body = re.sub(r"[ \t]*\n\s*", "\n", body)
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box[1]}" role="img" aria-label="{html.escape(alt)}" '
        'font-family="system-ui, sans-serif" stroke-linejoin="round" stroke-linecap="butt">'
    )
    return root + body


def _attributes(style: str) -> str:
    """The declarations of a style attribute as presentation attributes; the font family is left to the page."""
    declarations = [part.split(":", 1) for part in style.split(";") if ":" in part]
    attributes = []
    for key, value in ((key.strip(), value.strip()) for key, value in declarations):
        if key == "font":
            attributes += _font(value)
        elif key != "font-family":
            attributes.append(f'{key}="{value}"')
    return " ".join(attributes)


def _font(value: str) -> list[str]:
    words = re.match(r"(?P<before>[^']*?)(?P<size>[\d.]+px)", value)
    assert words is not None
    bold = re.search(r"\b(bold|[5-9]00)\b", words["before"])
    return [f'font-size="{words["size"]}"', *(['font-weight="600"'] if bold else [])]


def plain_label(text: str) -> str:
    """A label that matplotlib does not hide: it takes a leading underscore for a wish to."""
    return f" {text}" if text.startswith("_") else text


def class_label(name: str) -> str:
    """Name of a class in a figure; a long one without its middle, for it would take the room of what it names.

    Tables have it whole.
    """
    return plain_label(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 10]}…{name[-9:]}")
