"""What averaging gains: an out-of-fold prob is one model's, an uploaded one is a mean of several.

The labels of new rows are not known, but how the run's models differ on them is. The chance of a
label given one model's prob is known from out-of-fold rows (a logistic curve). What it is given
all models' probs is the curve of their mean log-odds that agrees with that: seen through one model
alone, it must give the first curve again (its two score equations vanish). Under these chances the
expected score of each model's answers, and of the answers of their mean, can be computed; the gain
is the difference. On held-back rows of four languages and models from mild to badly overfitted the
mean error of the gain was 0.0006 (gains 0.007 to 0.035, standard deviation of the error 0.001 to
0.007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, Mask, OofRows
from semeval_kit.decision.resampling import Board
from semeval_kit.decision.rule import Thresholds, decode_probs
from semeval_kit.decision.tallies import CELL_METRICS, find_metric
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.submission.metrics import NOTHING, average_ranks

# Log-odds beyond it say no more: overfitted models are sure without a reason.
_CAP = 4.0
_MAX_STEPS = 60
# Rows that the curve of all languages counts for in the curve of one.
_PRIOR_ROWS = 20.0
_N_DRAWS = 200
_N_REFITS = 10
# The share of a gain that the method may be wrong by, beside what sampling explains.
_MODEL_ERROR = 0.15


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows that no model of a run has learnt, as each of its models sees them.

    Attributes:
        split: "dev" or "test".
        probs: `(K, m, C)`, one model after the other.
        languages: `(m,)`.
        gold: `(m, L)`, where labels are at hand.
        groups: `(m,)`, the same number for rows that belong together.
        n_seeds: models whose mean each of these K is.
    """

    split: str
    probs: FloatArray
    languages: tuple[str, ...]
    gold: FloatArray | None
    groups: IntArray
    n_seeds: int = 1

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.languages)

    @property
    def n_models(self) -> int:
        """K."""
        return len(self.probs)

    def take(self, rows: IntArray) -> NewRows:
        """The given rows, in their order."""
        languages = tuple(self.languages[row] for row in rows)
        gold = None if self.gold is None else self.gold[rows]
        probs, groups = self.probs[:, rows], self.groups[rows]
        return NewRows(self.split, probs, languages, gold, groups, self.n_seeds)

    def of(self, language: str) -> NewRows:
        """The rows of a language."""
        return self.take(np.flatnonzero([code == language for code in self.languages]))

    def decide(self, rule: Thresholds, tuning: Tuning) -> tuple[FloatArray, list[FloatArray]]:
        """Answers `(m, L)` of the mean of the models, and of each model alone."""

        def answer(probs: FloatArray) -> FloatArray:
            decided = decode_probs(tuning.kind, probs, rule, self.languages, tuning.n_levels)
            return np.asarray(decided, dtype=np.float64)

        return answer(self.probs.mean(axis=0)), [answer(probs) for probs in self.probs]


@dataclass(frozen=True, eq=False)
class Upload:
    """What is uploaded, and the out-of-fold rows that it is judged by.

    Attributes:
        board: gold of these rows, and how answers are scored.
        rows: out-of-fold.
        rule: of the target.
        tuning: the kind of the target.
    """

    board: Board
    rows: OofRows
    rule: Thresholds
    tuning: Tuning

    def take(self, rows: IntArray) -> Upload:
        """Judged by the given rows alone."""
        return Upload(self.board.take(rows), self.rows.take(rows), self.rule, self.tuning)

    def board_of(self, new: NewRows) -> Board:
        """New rows with labels, and how answers to them are scored."""
        assert new.gold is not None
        scored = self.board.scored
        return Board.of(self.board.metric, new.gold, new.languages, scored, new.groups)


@dataclass(frozen=True)
class Gain:
    """By how much the answers of the mean score better than those of one model.

    Attributes:
        value: score of the mean less the mean score of the models.
        error: its standard error.
    """

    value: float
    error: float

    @classmethod
    def join(cls, gains: Sequence[Gain]) -> Gain:
        """The mean weighted by precision; a gain without an error is certain."""
        if any(gain.error == 0 for gain in gains):
            return next(gain for gain in gains if gain.error == 0)
        weights = np.array([1 / gain.error**2 for gain in gains])
        value = float((weights * [gain.value for gain in gains]).sum() / weights.sum())
        return cls(value, float(weights.sum() ** -0.5))


def foretell_gain(upload: Upload, new: NewRows, shift: FloatArray | None = None) -> Gain | None:
    """The gain on unlabelled rows of one language, or None where the metric does not allow it.

    Args:
        upload: judged by the rows of the language.
        new: rows of the language.
        shift: `(C,)`, log-odds by which labels are more frequent on the new rows.
    """
    board, rows, tuning = upload.board, upload.rows, upload.tuning
    metric = board.metric
    if new.n_models < 2:
        return Gain(0.0, 0.0)
    if tuning.is_numeric:
        return _foretell_numbers(rows, new, metric)
    if metric not in _EXPECTED:
        return None
    scored = board.scored & ~np.isnan(board.gold).all(axis=0)
    mean, alone = new.decide(upload.rule, tuning)
    rng = np.random.default_rng([tuning.seed, 5])
    gains, draws = [], np.empty(0)
    for number in range(_N_REFITS + 1):
        drawn = np.arange(len(rows)) if not number else rng.integers(0, len(rows), len(rows))
        chances = foretell_chances(rows.take(drawn), new, tuning, shift)
        tallies = np.stack(
            [_expect_tallies(metric, tuning, chances, answers) for answers in (mean, *alone)], 1
        )
        if not number:  # of new rows, under the best curves
            counts = rng.multinomial(len(new), np.full(len(new), 1 / len(new)), _N_DRAWS)
            sums = np.tensordot(counts.astype(float), tallies, axes=1)
            draws = _find_gap(metric, sums, scored)
        gains.append(float(_find_gap(metric, tallies.sum(axis=0), scored)))
    value = gains[0]
    error = np.sqrt(np.var(draws) + np.var(gains[1:]) + (_MODEL_ERROR * value) ** 2)
    return Gain(value, float(error))


def measure_gain(upload: Upload, new: NewRows) -> Gain:
    """The gain on labelled rows, paired, with the error of a bootstrap over groups."""
    board, tuning = upload.board_of(new), upload.tuning
    mean, alone = new.decide(upload.rule, tuning)
    systems = [mean, *alone]
    scores = [board.score(answers) for answers in systems]
    drawn = board.resample(systems, _N_DRAWS, tuning.seed)
    error = float((drawn[:, 0] - drawn[:, 1:].mean(axis=1)).std())
    # A few rows on which all models agree tell nothing of others: never more certain than a count.
    return Gain(scores[0] - float(np.mean(scores[1:])), max(error, 0.5 / len(new)))


def foretell_chances(
    rows: OofRows, new: NewRows, tuning: Tuning, shift: FloatArray | None = None
) -> FloatArray:
    """The chance of each target on new rows `(m, C)`, given what all models say.

    Other shares of labels add their log-odds to a curve, and leave its slope.
    """
    odds = _to_log_odds(new.probs)
    chances = np.empty(new.probs.shape[1:])
    for column, gold in enumerate(rows.targets.T):
        annotated = ~np.isnan(gold)
        intercept, slope = fit_curve(_to_log_odds(rows.probs[annotated, column]), gold[annotated])
        if slope < 0:  # worse than chance: nobody takes new rows to be answered the wrong way round
            share = (gold[annotated].sum() + 0.5) / (annotated.sum() + 1.0)
            intercept, slope = float(np.log(share / (1 - share))), 0.0
        curve = (intercept + (0.0 if shift is None else float(shift[column])), slope)
        a, b = _fit_mean_curve(odds[:, :, column], curve)
        chances[:, column] = _to_prob(a + b * odds[:, :, column].mean(axis=0))
    if tuning.kind == "singlelabel":
        chances /= np.maximum(chances.sum(axis=1, keepdims=True), 1e-12)
    if tuning.kind == "intensity":
        events = chances.reshape(len(chances), -1, tuning.n_levels)
        chances = np.minimum.accumulate(events, axis=2).reshape(chances.shape)
    return chances


def fit_curve(
    odds: FloatArray, gold: FloatArray, prior: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Intercept and slope of the chance of a label given log-odds, by logistic regression.

    Odds and gold are `(n,)`; few rows pull to the prior.
    """
    theta, anchor = np.array(prior), np.array(prior)
    design = np.stack([np.ones_like(odds), odds], axis=1)
    # As strong as a few rows at log-odds 0: only almost empty labels feel it.
    ridge = np.diag([_PRIOR_ROWS / 40, _PRIOR_ROWS / 40])
    for _ in range(_MAX_STEPS):
        chance = _to_prob(design @ theta)
        slope = design.T @ (chance - gold) + ridge @ (theta - anchor)
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + ridge
        step = np.clip(np.linalg.solve(bend, slope), -2, 2)
        theta = theta - step
        if np.abs(step).max() < 1e-8:
            break
    return float(theta[0]), float(theta[1])


def _fit_mean_curve(odds: FloatArray, curve: tuple[float, float]) -> tuple[float, float]:
    """The curve of mean log-odds that is, seen through one model, the given one."""
    mean, alone = odds.mean(axis=0), _to_prob(curve[0] + curve[1] * odds)
    a, b = curve
    for _ in range(_MAX_STEPS):
        chance = _to_prob(a + b * mean)
        weight, gap = chance * (1 - chance), chance - alone
        off = np.array([gap.mean(), (gap * odds).mean()])
        # The mean of `mean * odds` over models is the square of `mean`.
        bend = np.array(
            [
                [weight.mean(), (weight * mean).mean()],
                [(weight * mean).mean(), (weight * mean * mean).mean()],
            ]
        )
        step = np.clip(np.linalg.solve(bend + 1e-9 * np.eye(2), off), -1, 1)
        a, b = a - float(step[0]), b - float(step[1])
        if np.abs(step).max() < 1e-8:
            break
    return a, b


_ROWS = ("accuracy", "exact_match", "jaccard")
_EXPECTED = (*CELL_METRICS, *_ROWS, "pearson_r", "pearson")


def _expect_tallies(
    metric: str, tuning: Tuning, chances: FloatArray, answers: FloatArray
) -> FloatArray:
    """The tallies `(m, U, K)` that the chances let expect."""
    if tuning.kind == "intensity":
        events = chances.reshape(len(chances), -1, tuning.n_levels)
        if metric in ("pearson_r", "pearson"):
            tallies = find_metric(metric).tally(events.sum(axis=2), answers, NOTHING)
            odd = 2 * np.arange(tuning.n_levels) + 1  # y^2 is the sum of 2m - 1 over m <= y
            tallies[..., 3] = (odd * events).sum(axis=2)
            return tallies
        chances = events[:, :, 0]
    called = np.minimum(answers, 1.0)
    if metric in CELL_METRICS:
        return find_metric(metric).tally(chances, called, NOTHING)
    both = (called * chances).sum(axis=1)
    if metric == "jaccard":
        either = (called + chances - called * chances).sum(axis=1)
        empty = ~(called > 0).any(axis=1)
        values = np.where(empty, np.prod(1 - chances, axis=1), both / np.maximum(either, 1e-12))
    elif tuning.kind == "singlelabel":
        values = both
    else:
        values = np.prod(np.where(called > 0, chances, 1 - chances), axis=1)
    return np.stack([values, np.ones_like(values)], axis=-1)[:, None]


def _find_gap(metric: str, sums: FloatArray, scored: Mask) -> FloatArray:
    """Score of the first system less the mean of the others `(...)` from `(..., 1 + K, U, k)`."""
    scores = find_metric(metric).score(sums, scored)
    gap: FloatArray = scores[..., 0] - scores[..., 1:].mean(axis=-1)
    return gap


def _foretell_numbers(rows: OofRows, new: NewRows, metric: str) -> Gain | None:
    """The gain for numbers, where algebra gives it.

    A mean covaries with gold as its parts do, and varies less (r rises by the ratio of the
    standard deviations); its squared error is theirs less their variance about it.
    """
    probs = new.probs
    if metric == "spearman":
        columns = [[average_ranks(column) for column in voice.T] for voice in probs]
        probs = np.stack([np.stack(voice, axis=1) for voice in columns]).astype(np.float64)
    mean = probs.mean(axis=0)
    if metric in ("pearson_r", "pearson", "spearman"):
        board = Board.of(metric, rows.targets, rows.languages)
        ratio = probs.std(axis=1).mean(axis=0) / np.maximum(mean.std(axis=0), 1e-12)
        value = board.score(rows.probs) * (float(ratio.mean()) - 1)
    elif metric == "rmse":
        square = np.nanmean((rows.probs - rows.targets) ** 2, axis=0)
        spread = probs.var(axis=0).mean(axis=0)
        value = float((np.sqrt(np.maximum(square - spread, 0)) - np.sqrt(square)).mean())
    else:
        return None
    return Gain(value, abs(_MODEL_ERROR * value) + 1e-4)


def _to_log_odds(probs: FloatArray) -> FloatArray:
    clipped = np.clip(probs, 1e-9, 1 - 1e-9)
    odds: FloatArray = np.clip(np.log(clipped) - np.log1p(-clipped), -_CAP, _CAP)
    return odds


def _to_prob(odds: FloatArray) -> FloatArray:
    prob: FloatArray = 1 / (1 + np.exp(-odds))
    return prob
