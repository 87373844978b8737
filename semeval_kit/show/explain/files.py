"""The files of an explanation: pages, figures, and what tokens do over many texts."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray
from semeval_kit.errors import KitError
from semeval_kit.files import remove_tree, write_atomic
from semeval_kit.plurals import count_noun
from semeval_kit.show.explain.attributions import Attribution
from semeval_kit.show.explain.page import (
    Explanation,
    Heading,
    name_files,
    render_page,
    show_share,
    show_signed,
    show_target,
)
from semeval_kit.show.figures.charts import (
    BLUE,
    FAINT,
    INK,
    VERMILION,
    WIDTH,
    grid_panels,
    new_figure,
    save_figure,
    styled,
)
from semeval_kit.show.tabulate import shorten, show_controls, spell_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_BARS = 12
_LONGEST = 22

# Inches: two columns of panels with names and values need the width of a page.
_WIDE = 7.0
COLUMNS = ("label", "token", "occurrences", "texts", "per_sample_text", "per_occurrence")


def write_sentences(
    folder: Path,
    name: str,
    explanations: Sequence[Explanation],
    heading: Heading,
    *,
    figures: bool = True,
    on_figure: Callable[[], object] | None = None,
) -> list[Path]:
    """Write `<name>.html` and, in the folder `<name>`, a figure per text and target.

    What an earlier call left under the same name is replaced.

    Returns:
        The page and, if there are figures, their folder.

    Raises:
        KitError: the name is not one, or a library is missing.
    """
    check_name(name)
    page, pictures = folder / f"{name}.html", folder / name
    remove_tree(pictures)
    write_atomic(page, render_page(explanations, heading))
    if not figures:
        return [page]
    for number, explanation in enumerate(explanations, start=1):
        for target, part in enumerate(name_files(explanation.target_names)):
            figure = draw_sentence(explanation, target)
            _save_text_figure(figure, pictures, f"text-{number}_{part}")
            if on_figure is not None:
                on_figure()
    return [page, pictures]


def write_global(
    folder: Path,
    name: str,
    attributions: Iterable[Attribution],
    target_names: Sequence[str],
    heading: Heading,
) -> list[Path]:
    """Write `<name>.csv`, `<name>.png` and `<name>.svg`: the tokens that push each label most.

    Raises:
        KitError: the name is not one, or matplotlib is missing.
    """
    check_name(name)
    effects = sum_effects(attributions, len(target_names))
    table = folder / f"{name}.csv"
    write_atomic(table, write_effects(effects, target_names))
    return [table, *_save_text_figure(draw_effects(effects, target_names, heading), folder, name)]


def check_name(name: str) -> None:
    """Refuse names that would lead out of the folder.

    Raises:
        KitError: naming it.
    """
    if not _NAME.fullmatch(name):
        raise KitError(
            f"name '{name}': cannot be a file name here. "
            "Use up to 100 letters, digits, dots, dashes and underscores, a letter or digit first."
        )


@styled
def draw_sentence(explanation: Explanation, target: int) -> Figure:
    """Bars of the pieces that move one target of a text most, strongest first."""
    attribution = explanation.attribution
    values = attribution.values[:, target]
    order = np.argsort(-np.abs(values), kind="stable")
    shown, others = order[:_MOST_BARS], order[_MOST_BARS:]
    names = [_show_piece(attribution, piece) for piece in shown]
    bars = [float(values[piece]) for piece in shown]
    if len(others):
        names.append(count_noun(len(others), "other piece"))
        bars.append(float(values[others].sum()))
    figure = new_figure(1.3 + 0.23 * max(2, len(bars)))
    axes = figure.subplots()
    _draw_bars(axes, names, bars, [show_signed(bar) for bar in bars], room=0.15)
    axes.set_xlabel("contribution to probability")
    if len(others):
        axes.patches[-1].set_alpha(0.45)
    figure.suptitle(_describe(explanation, target), x=0.01, ha="left", fontsize=9)
    return figure


@styled
def draw_effects(
    effects: TokenEffects, target_names: Sequence[str], heading: Heading, limit: int = 12
) -> Figure:
    """A panel per target: what raises and what lowers its mean probability over the sample most."""
    height = 0.6 + 0.17 * min(limit, len(effects.tokens))
    figure, panels = grid_panels(len(target_names), columns=2, height=height)
    figure.set_size_inches(_WIDE if len(target_names) > 1 else WIDTH, figure.get_figheight())
    for target, (axes, name) in enumerate(zip(panels, target_names, strict=True)):
        shown = effects.extremes(target, limit)
        bars = [float(effects.per_text[token, target]) for token in shown]
        values = [
            f"{show_signed(bar, 4)} \u00d7{effects.occurrences[token]}"
            for bar, token in zip(bars, shown, strict=True)
        ]
        names = [shorten(effects.tokens[token], _LONGEST) for token in shown]
        _draw_bars(axes, names, bars, values, room=0.3)
        axes.set_title(show_target(name))
    texts = count_noun(effects.n_texts, "text")
    figure.suptitle(f"Strongest tokens over {texts} ({heading.models}, {heading.method})")
    figure.supxlabel("contribution to the mean probability; \u00d7 occurrences", fontsize=9)
    return figure


@dataclass(frozen=True)
class TokenEffects:
    """Contributions added up by token.

    Attributes:
        tokens: case-folded; `##` before one that goes on with a word.
        occurrences: how often each occurs, `(n_tokens,)`.
        texts: in how many texts, `(n_tokens,)`.
        totals: sum of its contributions, `(n_tokens, C)`.
        n_texts: size of the sample.
        gap: mean over the texts of probability - base - contributions, `(C,)`.
    """

    tokens: tuple[str, ...]
    occurrences: IntArray
    texts: IntArray
    totals: FloatArray
    n_texts: int
    gap: FloatArray

    @property
    def per_text(self) -> FloatArray:
        """By how much each token moves the mean probability of the sample, `(n_tokens, C)`.

        Their sum is the mean probability minus the mean base, up to `gap`.
        """
        return self.totals / max(1, self.n_texts)

    def strongest(self, target: int) -> IntArray:
        """Tokens by how much they move a target, in either direction; ties by alphabet."""
        sizes = np.abs(self.totals[:, target])
        return np.array(
            sorted(range(len(sizes)), key=lambda place: (-sizes[place], self.tokens[place])),
            dtype=np.int64,
        )

    def extremes(self, target: int, limit: int) -> IntArray:
        """The tokens that raise a target most, then those that lower it most, from high to low.

        Half of them each, or more of one kind where the other has too few.
        """
        order = self.strongest(target)
        up, down = (order[sign * self.totals[order, target] > 0] for sign in (1, -1))
        n_down = min(len(down), max(limit // 2, limit - len(up)))
        n_up = min(len(up), limit - n_down)
        return np.concatenate([up[:n_up], down[:n_down][::-1]])


def sum_effects(attributions: Iterable[Attribution], n_targets: int) -> TokenEffects:
    """Add up the contributions of texts by token."""
    explained = list(attributions)
    words = [name_tokens(attribution) for attribution in explained]
    place_of = {token: n for n, token in enumerate(dict.fromkeys(chain.from_iterable(words)))}
    places = np.array([place_of[token] for token in chain.from_iterable(words)], dtype=np.int64)
    of_texts = [place_of[token] for tokens in words for token in set(tokens)]
    totals = np.zeros((len(place_of), n_targets))
    np.add.at(totals, places, np.concatenate([totals[:0], *(a.values for a in explained)]))
    return TokenEffects(
        tokens=tuple(place_of),
        occurrences=np.bincount(places, minlength=len(place_of)),
        texts=np.bincount(np.array(of_texts, dtype=np.int64), minlength=len(place_of)),
        totals=totals,
        n_texts=len(explained),
        gap=sum((a.gaps for a in explained), np.zeros(n_targets)) / max(1, len(explained)),
    )


def name_tokens(attribution: Attribution) -> list[str]:
    """Pieces as words of a list: without blanks, case-folded, `##` where a word goes on."""
    return [
        ("##" if continued else "") + show_controls(piece).casefold()
        for piece, continued in zip(attribution.pieces, attribution.continued, strict=True)
    ]


def write_effects(effects: TokenEffects, target_names: Sequence[str]) -> str:
    """The effects as CSV, strongest first per label; no cell is a formula."""
    rows, per_text = [], effects.per_text
    for target, name in enumerate(target_names):
        for token in effects.strongest(target):
            count = int(effects.occurrences[token])
            row = [
                name,
                effects.tokens[token],
                str(count),
                str(int(effects.texts[token])),
                f"{per_text[token, target]:.6f}",
                f"{effects.totals[token, target] / count:.6f}",
            ]
            rows.append(row)
    return spell_csv(COLUMNS, rows)


def _save_text_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure that shows people's texts as PNG and SVG.

    Writing systems for which matplotlib finds no font are boxes in the PNG; the SVG holds the words
    themselves, so a viewer shows them in its own fonts. Nothing is said about them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        return save_figure(figure, folder, name)


def _describe(explanation: Explanation, target: int) -> str:
    attribution = explanation.attribution
    name = show_target(explanation.target_names[target])
    threshold = explanation.thresholds[target]
    said = f"{shorten(name, _LONGEST * 2)}\nbase {show_share(attribution.base[target])}"
    said += f" \u2192 probability {show_share(attribution.probs[target])}"
    if np.isnan(threshold):
        return said
    sign = "\u2265" if attribution.probs[target] >= threshold else "<"
    return f"{said} {sign} threshold {show_share(threshold)}"


def _draw_bars(
    axes: Axes, names: Sequence[str], bars: Sequence[float], values: Sequence[str], room: float
) -> None:
    """Draw signed bars from the top down, each with its value behind it."""
    colours = [VERMILION if bar >= 0 else BLUE for bar in bars]
    drawn = axes.barh(range(len(bars)), bars, height=0.72, color=colours)
    axes.bar_label(drawn, values, padding=3, fontsize=7, color=INK)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_yticks(range(len(bars)), names)
    axes.set_ylim(max(2, len(bars)) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=4)
    low, high = min([0.0, *bars]), max([0.0, *bars])
    sides = [low < 0, high > 0 or low == 0]
    pad = room * ((high - low) or 0.01) / (1 - room * sum(sides))
    axes.set_xlim(low - pad * sides[0], high + pad * sides[1])


def _show_piece(attribution: Attribution, piece: int) -> str:
    shown = shorten(show_controls(attribution.pieces[piece]), _LONGEST) or "(blank)"
    return f"##{shown}" if attribution.continued[piece] else shown
