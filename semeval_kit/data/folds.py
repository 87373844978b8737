"""Folds: groups of copies stay together, labels and languages are spread evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun


def assign_folds(
    groups: NDArray[np.int64],
    targets: NDArray[np.float64],
    languages: Sequence[str],
    n_folds: int,
    seed: int,
) -> NDArray[np.int64]:
    """Assign each row to a fold.

    Args:
        groups: `(n_examples,)`, numbers from 0; rows of one number stay together.
        targets: `(n_examples, n_targets)` of 0 and 1, NaN where not annotated.
        languages: `(n_examples,)`; every language is spread over the folds, too.
        n_folds: at least 2.
        seed: of the ties.

    Returns:
        Fold numbers `(n_examples,)` from 0 to `n_folds - 1`.

    Raises:
        KitError: there are fewer groups than folds.
    """
    n_groups = len(np.bincount(groups))
    if n_groups < n_folds:
        raise KitError(
            f"{count_noun(n_groups, 'group or different text', 'groups or different texts')} "
            f"cannot make {n_folds} folds. Lower --folds or add rows. "
            "(Pairs that share a text are one group, unless the task names a group key.)"
        )
    return _spread(groups, targets, languages, np.full(n_folds, 1.0 / n_folds), seed)


def assign_holdout(
    groups: NDArray[np.int64],
    targets: NDArray[np.float64],
    languages: Sequence[str],
    share: float,
    seed: int,
) -> NDArray[np.int64]:
    """Hold out a share of the rows: 0 for the held-out rows, -1 for those that train.

    The share is between 0 and 1; the rest is as in `assign_folds`.

    Raises:
        KitError: there are fewer than two groups.
    """
    if not groups.any():
        raise KitError("A hold-out needs at least two groups or different texts. Add rows.")
    return -_spread(groups, targets, languages, np.array([share, 1.0 - share]), seed)


def scarce_labels(
    targets: NDArray[np.float64], target_names: Sequence[str], n_folds: int
) -> list[str]:
    """Say which annotated targets have fewer positives than there are folds."""
    positives = np.nansum(targets, axis=0).astype(int)
    annotated = [bool((~np.isnan(column)).any()) for column in targets.T]
    return [
        f"label '{name}' has {count_noun(count, 'positive row')} for {n_folds} folds: some folds "
        "have none. Consider fewer folds."
        for name, count, is_annotated in zip(target_names, positives, annotated, strict=True)
        if is_annotated and count < n_folds
    ]


def _spread(
    groups: NDArray[np.int64],
    targets: NDArray[np.float64],
    languages: Sequence[str],
    shares: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int64]:
    """The part of each row `(n_examples,)`: groups stay whole, parts are of shares `(n_parts,)`."""
    evidence, sizes = _group_evidence(targets, languages, groups), np.bincount(groups)
    return _stratify(evidence, sizes, shares, np.random.default_rng(seed))[groups]


def _group_evidence(
    targets: NDArray[np.float64], languages: Sequence[str], groups: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Count per group `(n_groups, n_columns)`: positives of each target in each language.

    A last column per language counts rows without any positive, so that these spread evenly too.
    """
    names = sorted(set(languages))
    columns = []
    rows = np.asarray(languages)
    positive = np.nan_to_num(targets) > 0
    for name in names:
        here = rows == name
        for column in [*positive.T, ~positive.any(axis=1)]:
            columns.append(np.bincount(groups, weights=column & here))
    return np.stack(columns, axis=1)


def _stratify(
    evidence: NDArray[np.float64],
    sizes: NDArray[np.int64],
    shares: NDArray[np.float64],
    draw: np.random.Generator,
) -> NDArray[np.int64]:
    """Iterative stratification: the rarest column first, to the fold that lacks it most."""
    n_groups = len(sizes)
    fold_of = np.full(n_groups, -1, dtype=np.int64)
    wanted = np.outer(shares, evidence.sum(axis=0))
    room = shares * sizes.sum()
    order = draw.permutation(n_groups)
    remaining = evidence.sum(axis=0)
    while True:
        open_columns = np.flatnonzero(remaining > 0)
        if not len(open_columns):
            break
        column = int(open_columns[np.argmin(remaining[open_columns])])
        for group in order[(evidence[order, column] > 0) & (fold_of[order] < 0)]:
            fold = _neediest(wanted[:, column], room, draw)
            fold_of[group] = fold
            wanted[fold] -= evidence[group]
            room[fold] -= sizes[group]
            remaining -= evidence[group]
        remaining[column] = 0
    for group in order[fold_of[order] < 0]:
        fold = _neediest(room, room, draw)
        fold_of[group] = fold
        room[fold] -= sizes[group]
    return fold_of


def _neediest(
    wanted: NDArray[np.float64], room: NDArray[np.float64], draw: np.random.Generator
) -> int:
    best = np.flatnonzero(wanted >= wanted.max() - 1e-9)
    best = best[room[best] >= room[best].max() - 1e-9]
    return int(best[draw.integers(len(best))])
