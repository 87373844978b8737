"""Token effects: which tokens push each probability most over a sample of texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.explain.attributions import Attribution
from semeval_kit.show.tabulate import escape_cell, show_controls

Floats = NDArray[np.float64]
COLUMNS = ("label", "token", "occurrences", "texts", "per_sample_text", "per_occurrence")


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
    occurrences: NDArray[np.int64]
    texts: NDArray[np.int64]
    totals: Floats
    n_texts: int
    gap: Floats

    @property
    def per_text(self) -> Floats:
        """By how much each token moves the mean probability of the sample, `(n_tokens, C)`.

        Their sum is the mean probability minus the mean base, up to `gap`.
        """
        return self.totals / max(1, self.n_texts)

    def strongest(self, target: int) -> NDArray[np.int64]:
        """Tokens by how much they move a target, in either direction; ties by alphabet."""
        sizes = np.abs(self.totals[:, target])
        return np.array(
            sorted(range(len(sizes)), key=lambda place: (-sizes[place], self.tokens[place])),
            dtype=np.int64,
        )

    def extremes(self, target: int, limit: int) -> NDArray[np.int64]:
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
    places: dict[str, int] = {}
    occurrences: list[int] = []
    texts: list[int] = []
    totals: list[Floats] = []
    n_texts, gap = 0, np.zeros(n_targets)
    for attribution in attributions:
        n_texts += 1
        gap += attribution.gaps
        seen = set()
        for token, values in zip(name_tokens(attribution), attribution.values, strict=True):
            place = places.setdefault(token, len(places))
            if place == len(totals):
                totals.append(np.zeros(n_targets))
                occurrences.append(0)
                texts.append(0)
            totals[place] += values
            occurrences[place] += 1
            texts[place] += place not in seen
            seen.add(place)
    return TokenEffects(
        tokens=tuple(places),
        occurrences=np.array(occurrences, dtype=np.int64),
        texts=np.array(texts, dtype=np.int64),
        totals=np.array(totals).reshape(len(places), n_targets),
        n_texts=n_texts,
        gap=gap / max(1, n_texts),
    )


def name_tokens(attribution: Attribution) -> list[str]:
    """Pieces as words of a list: without blanks, case-folded, `##` where a word goes on."""
    return [
        ("##" if continued else "") + show_controls(piece).casefold()
        for piece, continued in zip(attribution.pieces, attribution.continued, strict=True)
    ]


def write_effects(effects: TokenEffects, target_names: Sequence[str]) -> str:
    """The effects as CSV, strongest first per label; no cell is a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    per_text = effects.per_text
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
            writer.writerow([escape_cell(cell) for cell in row])
    return buffer.getvalue()
