"""Partitions of rows into parts that never split a group, for cross-fitting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semeval_kit.decision.rules import IntArray


def split_units(
    units: IntArray, languages: Sequence[str], n_parts: int, rng: np.random.Generator
) -> IntArray:
    """A random part 0..n_parts-1 for every row `(n,)`.

    Units are dealt out in random order within the language of their first row, so every part holds
    its share of every language and no unit is in two parts.

    Args:
        units: `(n,)`, the group of each row, 0..U-1.
        languages: `(n,)`.
        n_parts: number of parts.
        rng: the source of the order.
    """
    found, first_rows = np.unique(units, return_index=True)
    spoken = np.array([languages[row] for row in first_rows])
    shuffled = rng.permutation(len(found))
    dealt = shuffled[np.argsort(spoken[shuffled], kind="stable")]
    part_of = np.empty(int(units.max()) + 1 if len(units) else 0, dtype=np.int64)
    part_of[found[dealt]] = np.arange(len(found)) % n_parts
    return part_of[units]
