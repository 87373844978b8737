"""Charts that several pictures share, in one palette."""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.errors import KitError, import_extra
from semeval_kit.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
_ATTRIBUTE = re.compile(r'\b(?:d|x|y|points|transform)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")
MOST_NUMBERED = 14
"""Columns of a matrix, at most, whose cells have room for their numbers."""
MOST_PAIRS = 15

# Inches that a character of the small type takes, generously.
_CHARACTER = 0.075
_MARGIN = 0.75
_TWO_LINES = 0.34


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
    bare = [part.rstrip() for part in parts]
    parts = [part[i : i + width] for part in bare for i in range(0, max(len(part), 1), width)]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], f"{parts[lines - 1][: width - 1]}…"]
    return "\n".join(parts)


def name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Name horizontal bars from the top down, one at each whole number."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")


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
    # Hundredths of a point cannot be seen and halve the file.
    return _ATTRIBUTE.sub(
        lambda attribute: _LONG.sub(lambda hit: f"{float(hit[0]):.2f}", attribute[0]),
        buffer.getvalue(),
    )


def render_png(figure: Figure) -> bytes:
    """Return a figure as PNG, without the name of the program that drew it."""
    buffer = io.BytesIO()
    with _matplotlib().rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
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


def grid_panels(
    n_panels: int, columns: int = 2, height: float = 1.8, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of small panels, row by row; places that no panel needs are removed."""
    columns = min(columns, n_panels)
    rows = -(-n_panels // columns)
    figure = new_figure(height * rows + 0.5)
    # A lone panel keeps the form of a picture rather than of a strip.
    if n_panels == 1:
        figure.set_size_inches(WIDTH, max(2.8, height + 0.5))
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    flat = [axes[row, column] for row in range(rows) for column in range(columns)]
    for spare in flat[n_panels:]:
        spare.remove()
    return figure, flat[:n_panels]


@styled
def draw_matrix(
    shares: FloatArray,
    rows: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
    counts: Sequence[float] | FloatArray | None = None,
) -> Figure:
    """One matrix as a figure, as high as its cells need.

    Up to MOST_NUMBERED columns have percentages on their cells; more are colours with a scale.

    Shares are `(R, C)` in 0..1, NaN for a blank cell; titles say what the rows are, and what the
    columns are with the unit of the cells; counts `(R,)` are added to the names of the rows.
    """
    numbered = len(columns) <= MOST_NUMBERED
    names = [break_name(row, 16, 2 if numbered else 1) for row in rows]
    if counts is not None:
        names = [f"{name} ({int(n)})" for name, n in zip(names, counts, strict=True)]
    longest = max(len(line) for name in names for line in name.split("\n"))
    small = 1.0 if numbered else 0.75
    cell = (WIDTH - _MARGIN - _CHARACTER * small * longest) / len(columns)
    lines = [line for column in columns for line in break_name(column).split("\n")]
    flat = max(map(len, lines)) * 0.9 * _CHARACTER < cell
    # Upright words need the width of their lines: a narrow cell has room for one.
    one_line = not flat and cell < _TWO_LINES
    heads = [break_name(column, 22, 1) if one_line else break_name(column) for column in columns]
    deep = 2 if flat else max(len(line) for head in heads for line in head.split("\n")) * small
    n_lines = max(sum(name.count("\n") + 1 for name in names) / len(names), 1.0)
    high = min(max(cell, 0.19 * small * n_lines), 0.5 if len(rows) <= 6 else 0.36)
    scale = 0.0 if numbered else 0.6
    figure = new_figure(max(high * len(rows), 1.2) + _CHARACTER * deep + _MARGIN + scale)
    axes = figure.subplots()
    # Three digits are about two letters wide.
    size = float(np.clip(72 * cell / 2.1, 5, 8))
    fill_cells(axes, shares, size=size if numbered else 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=8 if numbered else 6)
    axes.set_xticks(
        np.arange(len(columns)) + 0.5,
        heads,
        rotation=0 if flat else 90,
        fontsize=8 if numbered else float(np.clip(62 * cell, 4, 6)),
    )
    axes.set_ylabel(titles[0])
    axes.set_xlabel(titles[1])
    if not numbered:
        bar = figure.colorbar(axes.collections[0], ax=axes, location="bottom", aspect=40, pad=0.02)
        bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100 %"])
        bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def fill_cells(
    axes: Axes, shares: FloatArray, words: Sequence[Sequence[str]] | None = None, size: float = 8
) -> None:
    """Colour the cells of axes by their share and write on them; the first row is on top.

    Shares are `(R, C)` in 0..1, NaN for a blank cell. Words stand on the cells, percentages if left
    out, in so many points; with a size of 0 nothing.
    """
    # One rectangle per cell rather than an image: sharp at every size, and no embedded picture.
    colours = ramp()
    axes.pcolormesh(
        np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap=colours, edgecolors=PAPER, linewidth=1
    )
    for row, column in np.ndindex(*shares.shape if size else (0, 0)):
        share = shares[row, column]
        blank = np.isnan(share)
        axes.text(
            column + 0.5,
            row + 0.5,
            ("–" if blank else f"{100 * share:.0f}") if words is None else words[row][column],
            ha="center",
            va="center",
            fontsize=size,
            color=FAINT if blank else writing_on(colours(float(share))),
        )
    axes.set_ylim(shares.shape[0], 0)
    axes.set_xlim(0, shares.shape[1])
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@styled
def draw_pairs(shares: FloatArray, names: Sequence[str], counts: FloatArray, title: str) -> Figure:
    """Bars: the pairs of different labels with the most examples, for matrices without numbers.

    Shares are `(L, L)` in 0..1, of the examples of the row; counts `(L,)` say how many it has.
    """
    examples = np.nan_to_num(shares) * np.asarray(counts)[:, None]
    np.fill_diagonal(examples, 0)
    order = np.argsort(-examples, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(place), len(names)) for place in order if examples.flat[place] > 0]
    figure = new_figure(max(1.8, 0.22 * len(pairs) + 0.7))
    axes = figure.subplots()
    bars = axes.barh(range(len(pairs)), [examples[pair] for pair in pairs], 0.7, color=BLUE)
    axes.bar_label(
        bars,
        [f"{examples[pair]:.0f} ({100 * shares[pair]:.0f}%)" for pair in pairs],
        padding=2,
        fontsize=8,
    )
    short = [break_name(name, 14, 1) for name in names]
    name_bars(axes, [f"{short[a]} → {short[b]}" for a, b in pairs])
    axes.margins(x=0.2, y=0.02)
    axes.set_xlabel(title)
    return figure


def _matplotlib() -> Any:
    return import_extra("matplotlib", "analysis", "Pictures need")
