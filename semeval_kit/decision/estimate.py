"""The honest estimate of a score: cross-fitted, with the drift that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, Spelled, split_languages
from semeval_kit.decision.resampling import N_PARTS, Board, find_interval, split_groups
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import apply_rule, cross_fit, tune_rule, untuned_rule
from semeval_kit.errors import KitError
from semeval_kit.submission.metrics import METRICS
from semeval_kit.task.metric_facts import METRIC_FACTS

if TYPE_CHECKING:
    from semeval_kit.task.schema import Target
    from semeval_kit.task.task import Task

DEFAULT_METRIC = {
    "multilabel": "macro_f1",
    "singlelabel": "accuracy",
    "intensity": "pearson_r",
    "regression": "spearman",
    "distribution": "jensen_shannon",
}
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

# A drift is pointed out when it is both large and more than chance: five points, or two points
# and a factor of two; three sigmas.
_LARGE = 0.05
_LARGE_IF_DOUBLE = 0.02
_SIGMAS = 3.0


def choose_metric(task: Task, target: Target | None = None) -> str:
    """The first metric that the task names for a target (its first): the one that ranks."""
    target = target or task.main_targets[0]
    fitting = (
        name
        for name in task.metrics_of(target)
        if name in METRICS and target.kind in METRIC_FACTS[name].kinds
    )
    return next(fitting, DEFAULT_METRIC[target.kind])


@dataclass(frozen=True)
class Reading:
    """One figure: the mean over languages, and what it is made of.

    Attributes:
        score: mean over languages of the metric.
        low: lower end of the 95% interval over groups of rows.
        labels: per language, F1 (or r) of each label.
    """

    score: float
    low: float
    high: float
    languages: dict[str, float]
    labels: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Estimate(Spelled):
    """What to expect of the thresholds on new rows.

    Attributes:
        n_groups: groups of rows that stay together.
        at_half: untuned (0.5, or argmax).
        tuned_in_sample: tuned and scored on the same rows: optimistic.
        cross_fitted: tuned on all parts but one, applied to that one; the parts are the training
            folds, or random parts of a hold-out.
        partitions: the cross-fitted score of other partitions too; that of `cross_fitted` is first.
        gain: cross_fitted - at_half, with its paired 95% interval `[score, low, high]`.
        half: the answers `(n, L)` behind `at_half`.
        tuned: the answers `(n, L)` behind `cross_fitted`.
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
    half: Any = field(repr=False)
    tuned: Any = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures by name; answers have a file of their own."""
        plain = super().to_json()
        return {name: value for name, value in plain.items() if name not in ("half", "tuned")}


def estimate_score(
    rows: OofRows,
    tuning: Tuning,
    *,
    n_partitions: int | None = None,
    n_resamples: int = 2000,
    best_epoch_on_valid: bool = True,
) -> Estimate:
    """Estimate the score of single models on new rows from out-of-fold probs.

    Args:
        rows: their folds are the first partition; with fewer than two of them (a hold-out), every
            partition is random. Figures are means over languages.
        tuning: how the rule is tuned, and by which metric it is judged.
        n_partitions: in all; None: 5, or 2 above 10,000 rows, where they agree.
        n_resamples: bootstraps of the intervals.
        best_epoch_on_valid: whether the epoch was chosen on the validation fold.

    Raises:
        KitError: there is no row, or the metric is unknown.
    """
    if not len(rows):
        raise KitError("estimate: no out-of-fold rows. Train at least one fold.")
    labels = tuning.labels_of(rows.target_names)
    board = make_board(rows, tuning)
    partitions = _list_partitions(rows, tuning.seed, n_partitions)
    partitioned = [replace(rows, folds=parts) for parts in partitions]
    half = apply_rule(untuned_rule(rows, tuning.kind), rows, tuning)
    rule = tune_rule(partitioned[0], tuning)
    in_sample = apply_rule(rule, rows, tuning)
    cross_fitted = [cross_fit(parts, tuning) for parts in partitioned]
    drawn = board.resample([half, in_sample, cross_fitted[0]], n_resamples, tuning.seed)
    at_half = _read(board, labels, half, drawn[:, 0])
    tuned = _read(board, labels, cross_fitted[0], drawn[:, 2])
    # Argmax is not tuned, and a hold-out has one model only.
    is_tuned = rule.rule not in ("argmax", "identity")
    notes = {
        OPTIMISTIC: is_tuned,
        RESIDUAL_LEAK: is_tuned and len(np.unique(rows.folds)) > 1,
        BEST_EPOCH: best_epoch_on_valid,
    }
    return Estimate(
        metric=board.metric,
        n_examples=len(rows),
        n_groups=len(np.unique(rows.groups)),
        at_half=at_half,
        tuned_in_sample=_read(board, labels, in_sample, drawn[:, 1]),
        cross_fitted=tuned,
        partitions=tuple(board.score(preds) for preds in cross_fitted),
        gain=(tuned.score - at_half.score, *find_interval(drawn[:, 2] - drawn[:, 0])),
        notes=tuple(note for note, holds in notes.items() if holds),
        settings={
            "n_partitions": len(partitions),
            "n_resamples": n_resamples,
            "seed": tuning.seed,
        },
        half=half,
        tuned=cross_fitted[0],
    )


def make_board(rows: OofRows, tuning: Tuning) -> Board:
    """What answers to the rows are scored against; preds have no "macro_auc"."""
    metric, gold = tuning.metric, tuning.gold_of(rows.targets)
    if metric in ("", "macro_auc"):
        metric = DEFAULT_METRIC[tuning.kind]
    return Board.of(metric, gold, rows.languages, tuning.scored, rows.groups, rows.beside)


@dataclass(frozen=True)
class Drift:
    """The positive rate of one label in one language.

    Attributes:
        language: of the new rows.
        oof_rate: share of out-of-fold rows called positive (level >= 1), 0..1.
        test_rate: share of new rows called positive.
        sigmas: the difference of the rates over its standard error under no drift.
        notable: whether it is large (5 points; 2 if it doubles or halves) and unlikely by chance
            (3 sigmas).
    """

    language: str
    label: str
    oof_rate: float
    test_rate: float
    sigmas: float
    notable: bool


def measure_drift(
    oof_called: FloatArray,
    oof_languages: Sequence[str],
    new_called: FloatArray,
    new_languages: Sequence[str],
    label_names: Sequence[str],
) -> list[Drift]:
    """Compare the share of positive answers per language and label.

    A notable drift has two causes: the new rows differ, or a mean over models spreads less than
    the single models that the thresholds were tuned on. Give the share of models that call a row
    positive to see the first alone.

    Args:
        oof_called: `(n, L)`, 1 where the thresholds call an out-of-fold row positive; NaN where
            gold is not annotated.
        oof_languages: `(n,)`.
        new_called: `(m, L)`, 0..1.
        new_languages: `(m,)`; a language without out-of-fold rows is compared with all of them.
        label_names: the L names.
    """
    rows_of, drifts = split_languages(oof_languages), []
    for language, rows in split_languages(new_languages).items():
        before = oof_called[rows_of.get(language, np.arange(len(oof_called)))]
        for label, name in enumerate(label_names):
            called = before[~np.isnan(before[:, label]), label]
            if len(called):
                drifts.append(_compare_rates(language, name, called, new_called[rows, label]))
    return drifts


def _read(board: Board, labels: tuple[str, ...], preds: Any, drawn: FloatArray) -> Reading:
    """The reading of answers `(n, L)` whose bootstrapped scores are `drawn`."""
    tables = {
        language: {
            label: float(value)
            for label, value, has in zip(labels, values, board.present[language], strict=True)
            if has
        }
        for language, values in board.score_labels(preds).items()
    }
    return Reading(board.score(preds), *find_interval(drawn), board.score_languages(preds), tables)


def _list_partitions(rows: OofRows, seed: int, n_partitions: int | None) -> list[IntArray]:
    """The training folds, if there are two or more, then random partitions by group."""
    n_folds = len(np.unique(rows.folds))
    if n_partitions is None:
        n_partitions = 5 if len(rows) <= _MANY_ROWS else 2
    partitions = [rows.folds] if n_folds > 1 else []
    n_parts = n_folds if n_folds > 1 else N_PARTS
    for number in range(len(partitions), max(n_partitions, 1)):
        rng = np.random.default_rng([seed, 3, number])
        partitions.append(split_groups(rows.groups, rows.languages, n_parts, rng))
    return partitions


def _compare_rates(language: str, label: str, oof: FloatArray, new: FloatArray) -> Drift:
    before, after = float(oof.mean()), float(new.mean())
    pooled = (oof.sum() + new.sum()) / (len(oof) + len(new))
    error = float(np.sqrt(pooled * (1 - pooled) * (1 / len(oof) + 1 / len(new))))
    sigmas = (after - before) / error if error else 0.0
    gap, doubled = abs(after - before), max(before, after) >= 2 * min(before, after)
    large = gap >= _LARGE or (gap >= _LARGE_IF_DOUBLE and doubled)
    return Drift(language, label, before, after, sigmas, bool(large and abs(sigmas) >= _SIGMAS))
