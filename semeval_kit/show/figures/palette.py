"""The look of every picture: colours, type sizes, and how a figure becomes a file.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which people with any common
colour vision tell apart. A picture is drawn for white paper; a page shows it without its ground,
and on a dark screen with its lightness turned around (`templates/colours.css`).
"""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from semeval_kit.errors import KitError
from semeval_kit.run.directory import write_atomic

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

INK = "#24292f"
FAINT = "#636c76"
GRID = "#d0d7de"
PAPER = "#ffffff"
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = SERIES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
SPLIT_COLOURS = {"train": BLUE, "dev": VERMILION, "test": GREEN}

# Writing on the cells of a matrix, whose colours are the same on every ground.
ON_LIGHT, ON_DARK = "#000000", "#fefefe"
_RAMP = ("#f6fafd", "#9ecae1", "#2b7bba", "#08306b")

WIDTH = 4.6
"""Inches: a picture of this width keeps 9 point type readable on a phone and in one column."""
BAND_ALPHA = 0.22
DPI = 200
FORMATS = ("png", "svg")

STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlecolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "figure.constrained_layout.w_pad": 0.07,
    "figure.constrained_layout.h_pad": 0.05,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    # Words stay words: they can be searched, read aloud and scaled.
    "svg.fonttype": "none",
    # A dollar or a backslash in a label is a character, not a formula.
    "text.parse_math": False,
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function that draws, so that it draws in the one style.

    Raises:
        KitError: (the wrapped function) matplotlib is not installed.
    """

    @functools.wraps(draw)
    def draw_styled(*args: P.args, **kwargs: P.kwargs) -> T:
        with _matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return draw_styled


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a size in inches that arranges its own parts and needs no display."""
    _matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def break_name(name: str, width: int = 16, lines: int = 2) -> str:
    """Return a name in at most `lines` lines of `width` characters; a name too long ends in "…"."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    parts: list[str] = []
    for word in re.split(r"(?<=[ _/-])", name):
        if parts and len(parts[-1]) + len(word.rstrip()) <= width:
            parts[-1] += word
        else:
            parts.append(word)
    parts = [piece for part in parts for piece in _cut(part.rstrip(), width)]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], f"{parts[lines - 1][: width - 1]}…"]
    return "\n".join(parts)


def ramp() -> Colormap:
    """Colours for 0..1, from pale to dark, ordered by lightness so that grey print keeps them."""
    _matplotlib()
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("semeval-kit", list(_RAMP))


def writing_on(colour: Sequence[float]) -> str:
    """Return the colour of writing that is read best on a ground given as RGB in 0..1."""
    return ON_LIGHT if relative_luminance(colour) > 0.179 else ON_DARK


def relative_luminance(colour: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, 0..1 (WCAG 2.2, definition)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def render_svg(figure: Figure, name: str, transparent: bool = False) -> str:
    """Return a figure as SVG: words as words, no date, the same bytes for the same figure."""
    buffer = io.StringIO()
    with _matplotlib().rc_context({**STYLE, "svg.hashsalt": f"semeval-kit-{name}"}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=transparent,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")) | {"Title": name},
        )
    return _ATTRIBUTE.sub(_round_numbers, buffer.getvalue())


def render_png(figure: Figure, dpi: int = DPI) -> bytes:
    """Return a figure as PNG, without the name of the program that drew it."""
    buffer = io.BytesIO()
    with _matplotlib().rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(
    figure: Figure, folder: Path, name: str, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write a figure as `<folder>/<name>.<format>` and return the paths.

    Raises:
        KitError: a format is neither png nor svg.
    """
    paths = []
    for format_ in formats:
        if format_ not in FORMATS:
            raise KitError(
                f"format '{format_}': cannot be drawn; choose from {', '.join(FORMATS)}."
            )
        path = folder / f"{name}.{format_}"
        write_atomic(path, render_svg(figure, name) if format_ == "svg" else render_png(figure))
        paths.append(path)
    return paths


def embed_figure(figure: Figure, name: str) -> dict[str, str]:
    """Return the attributes of an `<img>` that shows a figure without its ground and loads nothing.

    Keys are `src` (a data URI), `width` and `height` (CSS pixels).
    """
    svg = render_svg(figure, name, transparent=True)
    data = base64.b64encode(svg[svg.index("<svg") :].encode("utf-8")).decode("ascii")
    width, height = (f"{96 * inches:.0f}" for inches in figure.get_size_inches())
    return {"src": f"data:image/svg+xml;base64,{data}", "width": width, "height": height}


_ATTRIBUTE = re.compile(r'\b(?:d|x|y|points|transform)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")


def _cut(word: str, width: int) -> list[str]:
    return [word[start : start + width] for start in range(0, len(word), width)] or [""]


def _round_numbers(attribute: re.Match[str]) -> str:
    # Hundredths of a point cannot be seen and halve the file.
    return _LONG.sub(lambda hit: f"{float(hit.group()):.2f}", attribute.group())


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise KitError(
            "Pictures need matplotlib. Install it with: pip install 'semeval-kit[analysis]'"
        ) from error
    return matplotlib
