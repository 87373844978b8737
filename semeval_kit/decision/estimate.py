"""The honest estimate: what the tuned rule will score on rows that it was not tuned on.

Thresholds are tuned on all parts but one and applied to that one; the answers of all parts are
pooled and scored once (averaging scores of single parts is biased: Forman & Scholz 2010). This is
repeated over several partitions, and the interval is a bootstrap over groups of rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.decode import decode_probs
from semeval_kit.decision.intensity import join_levels
from semeval_kit.decision.intervals import find_interval, resample_scores
from semeval_kit.decision.partitions import split_units
from semeval_kit.decision.rules import FloatArray, IntArray, Thresholds
from semeval_kit.decision.sweep import index_units
from semeval_kit.decision.tallies import Mask, Metric, find_metric, score_labels, score_rows
from semeval_kit.decision.thresholds import check_rows, split_languages
from semeval_kit.decision.tuning import tune_rule, untuned_rule
from semeval_kit.errors import KitError

DEFAULT_METRIC = {"multilabel": "macro_f1", "singlelabel": "accuracy", "intensity": "pearson_r"}

_PARTS = 5
_MANY_ROWS = 10_000

OPTIMISTIC = "The figure tuned in-sample is optimistic: its rows chose the thresholds."
RESIDUAL_LEAK = (
    "A small leak remains in the cross-fitted figure: the models behind the other folds' probs "
    "were trained on the fold that is scored. Only full nesting would remove it."
)
BEST_EPOCH = (
    "The best epoch of each fold was chosen on its validation rows, so every out-of-fold figure "
    "here is optimistic."
)
SINGLE_MODELS = (
    "Out-of-fold probs come from one model each; the test probs are a mean over folds, "
    "which is not measured here."
)


@dataclass(frozen=True)
class Reading:
    """One figure: the mean over languages, and what it is made of.

    Attributes:
        score: mean over languages of the metric.
        low: lower end of the 95% interval over groups of rows.
        high: upper end.
        languages: score per language.
        labels: per language, F1 (or r) of each label.
    """

    score: float
    low: float
    high: float
    languages: dict[str, float]
    labels: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Estimate:
    """What to expect of the thresholds on new rows.

    Attributes:
        metric: name of the metric.
        n_examples: rows.
        n_groups: groups of rows that stay together.
        at_half: untuned (0.5, or argmax).
        tuned_in_sample: tuned and scored on the same rows: optimistic.
        cross_fitted: tuned on all parts but one, applied to that one; mean over partitions.
        partitions: the cross-fitted score of each partition, the training folds first.
        gain: cross_fitted - at_half, with its paired 95% interval `[score, low, high]`.
        notes: sentences that belong beside the figures.
        settings: partitions, resamples, seed.
    """

    metric: str
    n_examples: int
    n_groups: int
    at_half: Reading
    tuned_in_sample: Reading
    cross_fitted: Reading
    partitions: tuple[float, ...]
    gain: tuple[float, float, float]
    notes: tuple[str, ...]
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The fields by name, tuples as lists."""
        fields = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


def estimate_score(
    kind: str,
    probs: FloatArray,
    targets: FloatArray,
    languages: Sequence[str],
    target_names: Sequence[str],
    folds: Sequence[int] | IntArray,
    *,
    metric: str | None = None,
    scored: Sequence[bool] | Mask | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    n_partitions: int | None = None,
    n_resamples: int = 2000,
    n_levels: int = 3,
    best_epoch_on_valid: bool = True,
    **tuning: Any,
) -> Estimate:
    """Estimate the score on new rows from out-of-fold probs.

    Args:
        kind: "multilabel", "singlelabel" or "intensity".
        probs: `(n, C)`, out-of-fold.
        targets: `(n, C)` of 0, 1 and NaN.
        languages: `(n,)`; figures are means over languages.
        target_names: the C names.
        folds: `(n,)`, the training folds: the first partition. With fewer than two of them
            (a hold-out), every partition is random.
        metric: a name of `competition.metrics`; None, or "macro_auc", which preds do not have:
            the usual one of the kind.
        scored: `(L,)`, which labels count (EmoContext leaves out "others"); None: all.
        groups: `(n,)`, rows that belong together (copies of a text).
        seed: of every random choice.
        n_partitions: partitions in all; None: 5, or 2 above 10,000 rows, where they agree.
        n_resamples: bootstraps of the intervals.
        n_levels: the highest level, for "intensity".
        best_epoch_on_valid: whether the epoch was chosen on the validation fold.
        **tuning: passed to `tune_rule` (n_bags, shrinkage, min_positives).

    Raises:
        KitError: shapes do not fit, or there is no row.
    """
    check_rows(probs, targets, languages, target_names)
    if not len(probs):
        raise KitError("estimate: no out-of-fold rows. Train at least one fold.")
    if metric is None or metric == "macro_auc":
        metric = DEFAULT_METRIC[kind]
    if n_partitions is None:
        n_partitions = 5 if len(probs) <= _MANY_ROWS else 2
    units = index_units(len(probs), groups)
    partitions = _list_partitions(np.asarray(folds), units, languages, n_partitions, seed)
    bench = _Bench(
        kind, probs, targets, tuple(languages), tuple(target_names), units,
        {**tuning, "seed": seed, "n_levels": n_levels},
    )  # fmt: skip
    answers = [bench.answer_untuned(), bench.answer_in_sample(partitions[0])]
    answers += [bench.answer_cross_fitted(parts) for parts in partitions]
    labels = bench.names if kind != "intensity" else _strip_levels(bench.names, n_levels)
    board = _Board(
        metric=find_metric(metric),
        gold=join_levels(targets, n_levels) if kind == "intensity" else targets,
        languages=bench.languages,
        labels=labels,
        scored=np.ones(len(labels), bool) if scored is None else np.asarray(scored, bool),
        units=units,
    )
    notes = _choose_notes(kind, len(np.unique(folds)), best_epoch_on_valid)
    return _sum_up(board, answers, notes, n_resamples, seed)


def _choose_notes(kind: str, n_folds: int, best_epoch_on_valid: bool) -> tuple[str, ...]:
    """What a reader must know; argmax is not tuned, and a hold-out has one model only."""
    tuned = kind != "singlelabel"
    chosen = (
        (OPTIMISTIC, tuned),
        (RESIDUAL_LEAK, tuned and n_folds > 1),
        (SINGLE_MODELS, n_folds > 1),
        (BEST_EPOCH, best_epoch_on_valid),
    )
    return tuple(note for note, holds in chosen if holds)


@dataclass(frozen=True)
class _Bench:
    """Out-of-fold rows, and rules tuned on some of them and applied to others."""

    kind: str
    probs: FloatArray
    targets: FloatArray
    languages: tuple[str, ...]
    names: tuple[str, ...]
    units: IntArray
    tuning: dict[str, Any]

    def answer_untuned(self) -> IntArray:
        rule = untuned_rule(self.kind, self.probs, self.targets, self.languages, self.names)
        return self.apply(rule, np.arange(len(self.probs)))

    def answer_in_sample(self, parts: IntArray) -> IntArray:
        rows = np.arange(len(self.probs))
        return self.apply(self.tune(rows, parts), rows)

    def answer_cross_fitted(self, parts: IntArray) -> IntArray:
        """Preds `(n, L)`, each part decoded by the rule of all others."""
        found: list[tuple[IntArray, IntArray]] = []
        for part in np.unique(parts):
            held_out = np.flatnonzero(parts == part)
            rule = self.tune(np.flatnonzero(parts != part), parts)
            found.append((held_out, self.apply(rule, held_out)))
        rows = np.concatenate([rows for rows, _ in found])
        preds = np.concatenate([preds for _, preds in found])
        return preds[np.argsort(rows)]

    def tune(self, rows: IntArray, parts: IntArray) -> Thresholds:
        return tune_rule(
            self.kind,
            self.probs[rows],
            self.targets[rows],
            [self.languages[row] for row in rows],
            self.names,
            folds=parts[rows],
            groups=self.units[rows].tolist(),
            **self.tuning,
        )

    def apply(self, rule: Thresholds, rows: IntArray) -> IntArray:
        spoken = [self.languages[row] for row in rows]
        return decode_probs(self.kind, self.probs[rows], rule, spoken, self.tuning["n_levels"])


def _sum_up(
    board: _Board,
    answers: list[IntArray],
    notes: tuple[str, ...],
    n_resamples: int,
    seed: int,
) -> Estimate:
    """Score the answers: untuned, in-sample, then one per partition."""
    tallies = np.stack([board.metric.tally(board.gold, preds, board.scored) for preds in answers])
    drawn = resample_scores(
        board.metric, tallies, board.gold, split_languages(board.languages), board.units,
        board.scored, n_resamples, seed,
    )  # fmt: skip
    partitions = tuple(board.read([preds], drawn[:, :1]).score for preds in answers[2:])
    at_half = board.read(answers[:1], drawn[:, :1])
    cross_fitted = board.read(answers[2:], drawn[:, 2:])
    gain = find_interval(drawn[:, 2:].mean(axis=1) - drawn[:, 0])
    return Estimate(
        metric=board.metric.name,
        n_examples=len(board.gold),
        n_groups=len(np.unique(board.units)),
        at_half=at_half,
        tuned_in_sample=board.read(answers[1:2], drawn[:, 1:2]),
        cross_fitted=cross_fitted,
        partitions=partitions,
        gain=(cross_fitted.score - at_half.score, *gain),
        notes=notes,
        settings={"n_partitions": len(partitions), "n_resamples": n_resamples, "seed": seed},
    )


@dataclass(frozen=True)
class _Board:
    """What is needed to score preds."""

    metric: Metric
    gold: FloatArray
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    scored: Mask
    units: IntArray

    def read(self, answers: list[IntArray], drawn: FloatArray) -> Reading:
        """The mean reading of several answers `(n, L)`, their bootstraps `(n_resamples, S)`."""
        low, high = find_interval(drawn.mean(axis=1))
        languages, labels = {}, {}
        for language, rows in split_languages(self.languages).items():
            has = np.atleast_1d(~np.isnan(self.gold[rows]).all(axis=0))
            gold, name = self.gold[rows], self.metric.name
            scores = [score_rows(name, gold, preds[rows], self.scored & has) for preds in answers]
            tables = [score_labels(name, gold, preds[rows]) for preds in answers]
            languages[language] = float(np.mean(scores))
            columns = zip(self.labels, np.mean(tables, axis=0), has, strict=True)
            labels[language] = {label: float(value) for label, value, own in columns if own}
        return Reading(float(np.mean(list(languages.values()))), low, high, languages, labels)


def _list_partitions(
    folds: IntArray, units: IntArray, languages: Sequence[str], n_partitions: int, seed: int
) -> list[IntArray]:
    """The training folds, if there are two or more, then random partitions by group."""
    n_folds = len(np.unique(folds))
    found = [folds] if n_folds > 1 else []
    n_parts = n_folds if n_folds > 1 else _PARTS
    for number in range(len(found), max(n_partitions, 1)):
        rng = np.random.default_rng([seed, 3, number])
        found.append(split_units(units, languages, n_parts, rng))
    return found


def _strip_levels(names: tuple[str, ...], n_levels: int) -> tuple[str, ...]:
    return tuple(name.rsplit(">=", 1)[0] for name in names[::n_levels])
