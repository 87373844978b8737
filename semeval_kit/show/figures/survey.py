"""One picture of the data for `data stats --plot`: labels, co-occurrence, lengths, overlap.

Drawn from the numbers of `competition.stats`, so that it shows what the command prints. The
pictures of a run's report are in `figures_data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semeval_kit.errors import KitError
from semeval_kit.show.figures.palette import (
    FAINT,
    FORMATS,
    PURPLE,
    SPLIT_COLOURS,
    new_figure,
    ramp,
    save_figure,
    styled,
    writing_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semeval_kit.data.stats import SplitStats

MAX_LENGTH_LINES = 60
MAX_OVERLAP_BARS = 20


def plot_data_stats(
    stats: Sequence[SplitStats], overlaps: Mapping[str, int], path: Path, title: str = ""
) -> Path:
    """Draw the overview and write it to a file.

    Args:
        stats: one entry per language and split.
        overlaps: rows that occur in both, by name of the pair of splits.
        path: where to write; the ending decides the format (.png or .svg).
        title: heading of the figure.

    Raises:
        KitError: matplotlib is missing, there is nothing to draw, or the ending is unknown.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise KitError(f"{path}: cannot draw into '.{ending}'; end the name in .png or .svg.")
    figure = draw_overview(stats, overlaps, title)
    drawn = save_figure(figure, path.parent, path.stem, [ending])[0]
    return drawn if drawn == path else drawn.rename(path)


@styled
def draw_overview(
    stats: Sequence[SplitStats], overlaps: Mapping[str, int], title: str = ""
) -> Figure:
    """Four panels: label shares, co-occurrence, text lengths, overlap between splits.

    Raises:
        KitError: matplotlib is missing, or there are no rows.
    """
    if not any(entry.n_rows for entry in stats):
        raise KitError("there are no rows to draw. Look at the folder with `data check`.")
    figure = new_figure(7.5, width=10)
    panels = figure.subplots(2, 2)
    _draw_shares(panels[0, 0], stats)
    _draw_cooccurrence(panels[0, 1], stats)
    _draw_lengths(panels[1, 0], stats)
    _draw_overlaps(panels[1, 1], overlaps)
    if title:
        figure.suptitle(title)
    return figure


def _draw_shares(axes: Axes, stats: Sequence[SplitStats]) -> None:
    """Bars: share of annotated rows in which a label is above 0, pooled over languages."""
    labels = _label_union(stats)
    splits = [split for split in SPLIT_COLOURS if any(s.split == split and s.labels for s in stats)]
    width = 0.8 / max(1, len(splits))
    for place, split in enumerate(splits):
        shares = [_share([s for s in stats if s.split == split], label) for label in labels]
        spots = np.arange(len(labels)) + (place - (len(splits) - 1) / 2) * width
        axes.bar(spots, shares, width, label=split, color=SPLIT_COLOURS[split])
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.grid(False, axis="x")
    axes.set_ylabel("share of annotated rows")
    axes.set_title("How often a label is above 0")
    if splits:
        axes.legend()


def _draw_cooccurrence(axes: Axes, stats: Sequence[SplitStats]) -> None:
    """Matrix: of the rows with the row's label, the share that also has the column's."""
    labels = _label_union(stats)
    axes.set_title("Given the row's label, share with the column's")
    axes.grid(False)
    if not labels:
        _say(axes, "no labels")
        return
    both, given = np.zeros((2, len(labels), len(labels)))
    for entry in stats:
        if entry.labels:
            places = [labels.index(label) for label in entry.labels]
            counts = np.asarray(entry.cooccurrence, dtype=np.float64)
            both[np.ix_(places, places)] += counts
            # Rows of languages without the column's label say nothing about the pair.
            given[np.ix_(places, places)] += counts.diagonal()[:, None]
    shares = both / np.maximum(1.0, given)
    colours = ramp()
    axes.imshow(shares, vmin=0, vmax=1, cmap=colours)
    for (row, column), share in np.ndenumerate(shares):
        ink = writing_on(colours(float(share)))
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=ink, fontsize=7)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)


def _draw_lengths(axes: Axes, stats: Sequence[SplitStats]) -> None:
    """Lines from 5% to 95% with a dot at the median, one per language and split."""
    shown = [entry for entry in stats if entry.n_rows][:MAX_LENGTH_LINES]
    for place, entry in enumerate(shown):
        _, low, middle, high, _ = entry.characters.quantiles
        colour = SPLIT_COLOURS.get(entry.split, FAINT)
        axes.plot([low, high], [place, place], color=colour)
        axes.plot(middle, place, "o", color=colour)
    size = 8 if len(shown) <= 15 else 4
    names = [f"{entry.language} {entry.split}" for entry in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=size)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel("characters (5%, median, 95%)")
    axes.set_title("Text length")


def _draw_overlaps(axes: Axes, overlaps: Mapping[str, int]) -> None:
    axes.set_title("Texts that occur in both")
    shown = sorted(((n, name) for name, n in overlaps.items() if n), reverse=True)
    if not shown:
        _say(axes, "no overlap")
        return
    shown = shown[:MAX_OVERLAP_BARS]
    bars = axes.barh([name for _, name in shown], [n for n, _ in shown], 0.6, color=PURPLE)
    axes.bar_label(bars, padding=2)
    # Room for some bars, so that a lone one stays a bar.
    axes.set_ylim(max(len(shown), 6) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("rows")


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def _label_union(stats: Sequence[SplitStats]) -> list[str]:
    # The longest set first: its order is that of the organisers' columns.
    longest_first = sorted(stats, key=lambda entry: -len(entry.labels))
    return list(dict.fromkeys(label for entry in longest_first for label in entry.labels))


def _share(stats: Sequence[SplitStats], label: str) -> float:
    annotated = sum(entry.annotated.get(label, 0) for entry in stats)
    return sum(entry.positives().get(label, 0) for entry in stats) / max(1, annotated)
