"""Pictures of the data: how frequent labels are, which occur together, how long texts are.

`plot_data_stats` is the one picture of `data stats --plot`, drawn from the numbers that the command
prints; the others are those of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.errors import KitError
from semeval_kit.show.figures.charts import (
    FAINT,
    FORMATS,
    PURPLE,
    SERIES,
    SPLIT_COLOURS,
    break_name,
    name_bars,
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


@styled
def draw_label_distribution(labels: Sequence[str], values: Mapping[str, FloatArray]) -> Figure:
    """Bars: share of annotated examples that have a label, per split.

    Values are labels `(n_examples, L)` per split: present above 0, NaN where not annotated.
    """
    n_bars = len(labels) * len(values)
    figure = new_figure(max(1.8, 0.19 * n_bars + 0.1 * len(labels) + 0.7))
    axes = figure.subplots()
    width = 0.82 / len(values)
    for place, (split, cells) in enumerate(values.items()):
        annotated = (~np.isnan(cells)).sum(axis=0)
        shares = 100 * (cells > 0).sum(axis=0) / np.maximum(annotated, 1)
        spots = np.arange(len(labels)) + (place - (len(values) - 1) / 2) * width
        colour = SPLIT_COLOURS.get(split, SERIES[3])
        bars = axes.barh(spots, shares, 0.92 * width, color=colour, label=split)
        names = ["n/a" if not k else f"{s:.0f}" for k, s in zip(annotated, shares, strict=True)]
        axes.bar_label(bars, names, padding=2, fontsize=8)
    name_bars(axes, [break_name(label) for label in labels])
    axes.margins(x=0.08, y=0.02)
    axes.set_xlabel("examples with the label (% of annotated)")
    if len(values) > 1:
        figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def draw_level_distribution(labels: Sequence[str], values: FloatArray, n_levels: int) -> Figure:
    """Stacked bars: share of annotated examples at each intensity above 0.

    Values are levels `(n_examples, L)`, NaN where not annotated.
    """
    figure = new_figure(max(1.8, 0.3 * len(labels) + 1.0))
    axes = figure.subplots()
    left = np.zeros(len(labels))
    annotated = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    for level in range(1, n_levels + 1):
        shares = 100 * (values == level).sum(axis=0) / annotated
        colour = ramp()(0.25 + 0.65 * (level - 1) / max(1, n_levels - 1))
        axes.barh(range(len(labels)), shares, 0.7, left, color=colour, label=f"level {level}")
        left += shares
    name_bars(axes, [break_name(label) for label in labels])
    axes.set_xlabel("examples at the level (% of annotated)")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def share_cooccurrence(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of the examples with a label, the share that also has another, and how many there are.

    Values are labels `(n_examples, L)`, present above 0.

    Returns:
        Shares `(L, L)`, NaN in the rows of labels that nothing has; and counts `(L,)`.
    """
    present = (values > 0).astype(np.float64)
    both = present.T @ present
    shares = both / np.maximum(1.0, both.diagonal())[:, None]
    shares[both.diagonal() == 0] = np.nan
    return shares, both.diagonal()


@styled
def draw_text_lengths(
    lengths: Mapping[str, Sequence[int]], unit: str = "characters", limit: int | None = None
) -> Figure:
    """Histogram of text lengths per split; the longest 1% is left out.

    What the model reads of a text at most, the `limit`, is a line if it is in sight.
    """
    figure = new_figure(2.8)
    axes = figure.subplots()
    pooled = np.concatenate([np.asarray(values) for values in lengths.values()])
    top = max(10.0, float(np.quantile(pooled, 0.99)))
    # As many bins as the smallest split can fill.
    n_bins = int(np.clip(1.5 * min(len(values) for values in lengths.values()) ** 0.5, 6, 32))
    # Bins of whole tokens, or some would hold one number of tokens more than their neighbours.
    width = max(1, round(top / n_bins))
    edges = np.arange(0, top + width, width)
    for split, values in lengths.items():
        counts, _ = np.histogram(values, edges)
        colour = SPLIT_COLOURS.get(split, SERIES[3])
        middle = float(np.median(values))
        axes.stairs(
            100 * counts / max(1, len(values)),
            edges,
            color=colour,
            linewidth=1.6,
            fill=False,
            label=f"{split} (median {middle:.0f})",
        )
        axes.axvline(middle, color=colour, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlim(0, edges[-1])
    if limit is not None and limit < edges[-1]:
        axes.axvline(limit, color=FAINT, linewidth=1.4, label=f"cut at {limit}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"length of a text ({unit})")
    axes.set_ylabel("texts (%)")
    figure.legend(
        loc="outside upper left", ncols=3 if len(lengths) + (limit is not None) < 4 else 2
    )
    return figure


def count_tokens(file: Path, texts: Sequence[str]) -> list[int]:
    """Lengths of texts in tokens, by a tokenizer.json."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoding) for encoding in tokenizer.encode_batch_fast(list(texts))]


def plot_data_stats(
    stats: Sequence[SplitStats], overlaps: Mapping[str, int], path: Path, title: str = ""
) -> Path:
    """Draw the overview and write it to a file.

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
    """Label shares, co-occurrence, text lengths, overlap between splits; no panel without content.

    Raises:
        KitError: matplotlib is missing, or there are no rows.
    """
    if not any(entry.n_rows for entry in stats):
        raise KitError("there are no rows to draw. Look at the folder with `data check`.")
    labels, shares = _pool_cooccurrence(stats)
    shared = {name: n for name, n in overlaps.items() if n}
    draw: list[Callable[[Axes], None]] = []
    if labels:
        draw.append(lambda axes: _draw_shares(axes, stats))
    if np.any(shares[~np.eye(len(labels), dtype=bool)]):
        draw.append(lambda axes: _draw_cooccurrence(axes, labels, shares))
    draw.append(lambda axes: _draw_lengths(axes, stats))
    if shared:
        draw.append(lambda axes: _draw_overlaps(axes, shared))
    figure = new_figure(7.5 if len(draw) > 2 else 4.0, width=10)
    places = figure.add_gridspec(-(-len(draw) // 2), 2)
    for place, fill in enumerate(draw):
        alone = place == len(draw) - 1 and place % 2 == 0
        fill(figure.add_subplot(places[place // 2, :] if alone else places[place // 2, place % 2]))
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


def _pool_cooccurrence(stats: Sequence[SplitStats]) -> tuple[list[str], FloatArray]:
    """All labels, and of the rows with the row's label the share that also has the column's."""
    labels = _label_union(stats)
    both, given = np.zeros((2, len(labels), len(labels)))
    for entry in stats:
        if entry.labels:
            places = [labels.index(label) for label in entry.labels]
            counts = np.asarray(entry.cooccurrence, dtype=np.float64)
            both[np.ix_(places, places)] += counts
            # Rows of languages without the column's label say nothing about the pair.
            given[np.ix_(places, places)] += counts.diagonal()[:, None]
    return labels, both / np.maximum(1.0, given)


def _draw_cooccurrence(axes: Axes, labels: Sequence[str], shares: FloatArray) -> None:
    axes.set_title("Given the row's label, share with the column's")
    axes.grid(False)
    colours = ramp()
    axes.imshow(shares, vmin=0, vmax=1, cmap=colours)
    for (row, column), share in np.ndenumerate(shares if len(labels) <= 12 else np.empty((0, 0))):
        ink = writing_on(colours(float(share)))
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=ink, fontsize=7)
    size = 8 if len(labels) <= 12 else 5
    axes.set_xticks(range(len(labels)), labels, rotation=90 if size < 8 else 30, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    if size == 8:
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")


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
    shown = sorted(((n, name) for name, n in overlaps.items()), reverse=True)[:MAX_OVERLAP_BARS]
    bars = axes.barh([name for _, name in shown], [n for n, _ in shown], 0.6, color=PURPLE)
    axes.bar_label(bars, padding=2)
    # Room for some bars, so that a lone one stays a bar.
    axes.set_ylim(max(len(shown), 6) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("rows")


def _label_union(stats: Sequence[SplitStats]) -> list[str]:
    # The longest set first: its order is that of the organisers' columns.
    longest_first = sorted(stats, key=lambda entry: -len(entry.labels))
    return list(dict.fromkeys(label for entry in longest_first for label in entry.labels))


def _share(stats: Sequence[SplitStats], label: str) -> float:
    annotated = sum(entry.annotated.get(label, 0) for entry in stats)
    return sum(entry.positives().get(label, 0) for entry in stats) / max(1, annotated)
