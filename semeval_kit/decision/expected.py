"""What the upload will score: the cross-fitted figure, moved to new rows and to a mean of models.

Out-of-fold answers are those of one model each, on rows of the training files. What is uploaded
are answers of a mean of models, on other rows. So the figure is (1) reweighted where the new rows
have other shares of labels, or withheld where no other shares explain what the models call, (2)
raised by what averaging gains, and (3) given an interval that also holds the chance of drawing
just these new rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from semeval_kit.decision.averaging import Gain, NewRows, Upload, foretell_gain, measure_gain
from semeval_kit.decision.estimate import Drift, measure_drift
from semeval_kit.decision.oof import FloatArray, Spelled
from semeval_kit.decision.resampling import find_interval
from semeval_kit.decision.tallies import CELL_METRICS
from semeval_kit.decision.tuning import apply_rule
from semeval_kit.plurals import count_noun
from semeval_kit.task.metric_facts import METRIC_FACTS

SINGLE_MODELS = (
    "Out-of-fold answers are those of one model each; what is uploaded is a mean over models, "
    "which is not measured here."
)
_N_RESAMPLES = 500
_Z = 1.96
# A bootstrap takes the answers as given, thresholds too. On held-back halves of six languages and
# three kinds of models 31 of 36 plain intervals held the score, and 33 that are wider by this.
_WIDER = 1.15
# What other shares of labels explain holds only if they are all that changed: half of what they
# change is taken for doubt.
_SHIFT_DOUBT = 0.5
# Called rates that other shares of labels should give, and the models' own, may differ by this.
_UNEXPLAINED = 0.05


@dataclass(frozen=True)
class Expected(Spelled):
    """What the upload will score.

    Attributes:
        score: mean over languages; NaN where it is withheld.
        low: lower end of the 95% interval, for a set of rows as large as the new one.
        base: the cross-fitted score that it starts from, reweighted under a shift.
        gain: what averaging adds.
        gain_error: its standard error.
        n_models: models that are averaged.
        n_seeds: models whose mean an out-of-fold row has.
        n_rows: new rows that the gain was foretold on; 0 if it was not.
        split: of the new rows.
        paired: the gain measured on labelled rows `[value, error]`, or None.
        drifts: labels that are called much more or less often on new rows.
        reweighted: whether the figure was moved to other shares of labels.
        withheld: why there is no figure; empty where there is one.
        at_chance: languages whose answers correlate with gold no better than by chance, so that no
            gain is foretold.
    """

    score: float
    low: float
    high: float
    languages: dict[str, float]
    base: float
    gain: float
    gain_error: float
    n_models: int
    n_rows: int
    split: str
    paired: tuple[float, float] | None
    drifts: tuple[Drift, ...]
    reweighted: bool
    withheld: str
    n_seeds: int = 1
    at_chance: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside the figure."""
        notes = []
        if self.n_rows and self.n_models > self.n_seeds:
            notes.append(
                f"The upload is a mean of {self.n_models} models; out of fold each row has "
                f"{'one' if self.n_seeds == 1 else f'the mean of {self.n_seeds}'}. "
                f"From how the models differ on {count_noun(self.n_rows, f'{self.split} row')}, "
                f"the mean of all is worth {self.gain:+.4f} over that "
                f"(standard error {self.gain_error:.4f})."
            )
        elif self.n_models > self.n_seeds:
            notes.append(SINGLE_MODELS)
        if self.at_chance and self.n_models > self.n_seeds:
            of = "" if set(self.at_chance) >= set(self.languages) else " in "
            notes.append(
                f"Out of fold the answers{of}{', '.join(self.at_chance) if of else ''} correlate "
                "with gold no better than by chance. The mean of models would only repeat that "
                "more firmly, so no gain by averaging is foretold there."
            )
        if self.reweighted:
            notes.append(
                f"The {self.split} rows have other shares of labels, so the expected figure is "
                f"that of out-of-fold rows weighted to them: {self.base:.4f} before averaging."
            )
        if self.withheld:
            notes.append(
                f"The {self.split} rows differ from the training rows and {self.withheld}: what "
                "the upload will score is not foretold. Look at the score on labelled dev rows."
            )
        return tuple(notes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence per label that is called much more or less often on new rows."""
        return tuple(
            f"{drift.language} '{drift.label}': {drift.oof_rate:.1%} of the out-of-fold rows are "
            f"called positive, but {drift.test_rate:.1%} of the {self.split} rows."
            for drift in self.drifts
        )


@dataclass(frozen=True)
class _Moved:
    """The figure before averaging, moved to the new rows' shares of labels where they differ.

    Attributes:
        languages: the score of each.
        doubt: what their mean may be wrong by.
        shifts: per language the log-odds of the change `(C,)`.
        withheld: why it was not moved; empty where it was, or need not be.
    """

    languages: dict[str, float]
    doubt: float = 0.0
    shifts: Mapping[str, FloatArray] = field(default_factory=dict)
    withheld: str = ""


def expect_score(upload: Upload, answers: Any, new: Sequence[NewRows]) -> Expected:
    """Foretell the score of what is uploaded.

    Args:
        upload: the rule, and what it is judged by.
        answers: `(n, L)`, cross-fitted.
        new: the rows of test, or else of dev, first; others with labels serve to measure the gain.
    """
    board, target = upload.board, new[0] if new else None
    drifts = tuple(drift for drift in _find_drifts(upload, target) if drift.notable)
    moved = _Moved(board.score_languages(answers))
    if drifts and target is not None:
        moved = _reweigh(upload, answers, target)
    gains, at_chance = _list_gains(upload, new, moved)
    known = [gain for gain in gains.values() if gain is not None]
    languages = {
        language: moved.languages[language] + (gain.value if gain else 0.0)
        for language, gain in gains.items()
    }
    score = float(np.mean(list(languages.values())))
    error = _find_error(upload, answers, gains, target, moved.doubt)
    facts = METRIC_FACTS[board.metric]
    low, high = np.clip([score - _Z * error, score + _Z * error], facts.lowest, facts.highest)
    if moved.withheld:
        score, low, high, languages = np.nan, np.nan, np.nan, {}
    several = [part for part in _list_labelled(upload, new) if part.n_models > 1]
    paired = measure_gain(upload, several[0]) if several else None
    return Expected(
        score=score,
        low=float(low),
        high=float(high),
        languages=languages,
        base=float(np.mean(list(moved.languages.values()))),
        gain=float(np.sum([gain.value for gain in known]) / len(gains)),
        gain_error=float(np.sqrt(np.sum([gain.error**2 for gain in known])) / len(gains)),
        n_models=target.n_models * target.n_seeds if target else 1,
        n_seeds=target.n_seeds if target else 1,
        n_rows=len(target) if target and len(known) == len(gains) else 0,
        split=target.split if target else "",
        paired=(paired.value, paired.error) if paired else None,
        drifts=drifts,
        reweighted=bool(drifts) and not moved.withheld,
        withheld=moved.withheld,
        at_chance=at_chance,
    )


def read_labelled(upload: Upload, new: Sequence[NewRows]) -> dict[str, Any] | None:
    """The score of what is uploaded on new rows with labels, with its interval, or None."""
    labelled = _list_labelled(upload, new)
    if not labelled:
        return None
    part, board = labelled[0], upload.board_of(labelled[0])
    mean, _ = part.decide(upload.rule, upload.tuning)
    low, high = find_interval(board.resample([mean], _N_RESAMPLES, upload.tuning.seed)[:, 0])
    score = board.score(mean)
    return {"split": part.split, "score": score, "low": low, "high": high, "n_examples": len(part)}


def _list_labelled(upload: Upload, new: Sequence[NewRows]) -> list[NewRows]:
    """New rows with labels; none if the metric needs what is known of out-of-fold rows only."""
    if METRIC_FACTS[upload.board.metric].needs:
        return []
    return [part for part in new if part.gold is not None]


def _list_gains(
    upload: Upload, new: Sequence[NewRows], moved: _Moved
) -> tuple[dict[str, Gain | None], tuple[str, ...]]:
    """Language -> what averaging adds, None where nothing tells; and the languages at chance.

    Where answers correlate no better than by chance there is no gain, which may be wrong by as much
    as the one that was foretold. A negative correlation of held-out rows is mostly the folds'
    doing: where the rows to be judged are high, those left to learn from are low. It says nothing
    of new rows.
    """
    gains: dict[str, Gain | None] = {}
    for language, numbers in upload.board.rows_of.items():
        parts = [part.of(language) for part in new if language in part.languages]
        shift = moved.shifts.get(language)
        gains[language] = _join_gains(upload.take(numbers), parts, shift)
    if METRIC_FACTS[upload.board.metric].lowest >= 0:
        return gains, ()
    at_chance = tuple(language for language, score in moved.languages.items() if not score > 0)
    for language in at_chance:
        if (gain := gains[language]) is not None:
            gains[language] = Gain(0.0, float(np.hypot(gain.value, gain.error)))
    return gains, at_chance


def _join_gains(upload: Upload, new: Sequence[NewRows], shift: FloatArray | None) -> Gain | None:
    """The gain in a language: foretold on the first new rows, measured on those with labels."""
    foretold = foretell_gain(upload, new[0], shift) if new else None
    if foretold is None:
        return None
    labelled = _list_labelled(upload, new)
    measured = [measure_gain(upload, part) for part in labelled if part.n_models > 1]
    return Gain.join([foretold, *measured])


def _find_error(
    upload: Upload,
    answers: Any,
    gains: Mapping[str, Gain | None],
    target: NewRows | None,
    doubt: float,
) -> float:
    """The standard error of the mean over languages: of known rows, new ones, gains, the doubt."""
    board = upload.board
    drawn = board.resample_languages([answers], _N_RESAMPLES, upload.tuning.seed)
    n_new, variances = Counter(target.languages if target else ()), []
    for language, rows in board.rows_of.items():
        gain, spread = gains[language], float(drawn[language].std())
        ratio = len(rows) / (n_new[language] or len(rows))
        variances.append(spread**2 * (1 + ratio) + (gain.error if gain else 0.0) ** 2)
    variance = float(np.sum(variances) / len(variances) ** 2)
    return _WIDER * float(np.sqrt(variance + doubt**2))


def _find_drifts(upload: Upload, new: NewRows | None) -> list[Drift]:
    """One model's answers out of fold against one model's on new rows: averaging plays no part."""
    rows, rule, tuning = upload.rows, upload.rule, upload.tuning
    if new is None or tuning.is_numeric:
        return []
    called = (apply_rule(rule, rows, tuning) > 0).astype(np.float64)
    labels = tuning.labels_of(rows.target_names)
    levels = len(rows.target_names) // len(labels)
    called[np.isnan(rows.targets[:, ::levels])] = np.nan
    _, alone = new.decide(rule, tuning)
    share = np.mean([answers > 0 for answers in alone], axis=0)
    # A language that was not trained on has no figure that could be moved.
    rows_of_known_languages = np.flatnonzero(np.isin(new.languages, list(set(rows.languages))))
    languages = [new.languages[row] for row in rows_of_known_languages]
    return measure_drift(called, rows.languages, share[rows_of_known_languages], languages, labels)


def _reweigh(upload: Upload, answers: Any, new: NewRows) -> _Moved:
    """The figure moved to the new rows' shares of labels."""
    plain = upload.board.score_languages(answers)
    withheld, weights, shifts = _weigh(upload, new)
    if withheld:
        return _Moved(plain, withheld=withheld)
    shifted = upload.board.score_weighted(answers, weights)
    moved = np.mean([shifted[language] - plain[language] for language in plain])
    return _Moved(shifted, _SHIFT_DOUBT * abs(float(moved)), shifts)


def _weigh(upload: Upload, new: NewRows) -> tuple[str, FloatArray, dict[str, FloatArray]]:
    """What each cell counts for under the new rows' shares of labels, or why that is not known.

    The shares are those under which one model's answers would be called as often as they are: from
    the rates of right and wrong calls out of fold (adjusted count; for single labels the
    non-negative solution of the confusion matrix).

    Returns:
        Why not, or nothing; weights `(n, L)`; per language the log-odds of the change `(L,)`.
    """
    board, rows, rule, tuning = upload.board, upload.rows, upload.rule, upload.tuning
    weights, shifts = np.ones_like(rows.targets), {}
    by_row = board.metric not in CELL_METRICS and tuning.kind != "singlelabel"
    if tuning.kind == "intensity" or by_row:
        return f"{board.metric} cannot be moved to other shares of labels", weights, {}
    called_oof = (apply_rule(rule, rows, tuning) > 0).astype(np.float64)
    unexplained = "no other shares of labels explain how often the models call them"
    for language, numbers in board.rows_of.items():
        if language not in new.languages:
            continue
        gold, called = rows.targets[numbers], called_oof[numbers]
        _, alone = new.of(language).decide(rule, tuning)
        rates = np.mean([voice > 0 for voice in alone], axis=(0, 1))
        if tuning.kind == "singlelabel":
            factor = _solve_shares(gold, called, rates)
            if factor is None:
                return unexplained, weights, {}
            weights[numbers] = np.nan_to_num(gold @ factor, nan=1.0)[:, None]
            shifts[language] = np.log(np.maximum(factor, 1e-3))
            continue
        shift = np.zeros(gold.shape[1])
        for column in range(gold.shape[1]):
            annotated = ~np.isnan(gold[:, column])
            share = _adjust_count(gold[annotated, column], called[annotated, column], rates[column])
            if share is None:
                return unexplained, weights, {}
            before = float(gold[annotated, column].mean()) if annotated.any() else 0.0
            if 0 < before < 1:
                up, down = share / before, (1 - share) / (1 - before)
                weights[numbers, column] = np.where(gold[:, column] > 0, up, down)
                shift[column] = np.log(max(up, 1e-3) / max(down, 1e-3))
        shifts[language] = shift
    return "", weights, shifts


def _adjust_count(gold: FloatArray, called: FloatArray, rate: float) -> float | None:
    """The share of positives that gives a rate of calls; None where none does."""
    if not 0 < gold.sum() < len(gold):
        return float(gold.mean()) if len(gold) else 0.0
    right, wrong = float(called[gold > 0].mean()), float(called[gold == 0].mean())
    if right - wrong < 0.1:  # calls that tell little about gold tell nothing about its share
        return float(gold.mean()) if abs(rate - called.mean()) < _UNEXPLAINED else None
    share = float(np.clip((rate - wrong) / (right - wrong), 0.0, 1.0))
    fitted = share * right + (1 - share) * wrong
    return share if abs(fitted - rate) < _UNEXPLAINED else None


def _solve_shares(gold: FloatArray, called: FloatArray, rates: FloatArray) -> FloatArray | None:
    """How much more often each label holds `(L,)`; None where no shares give the rates.

    Shares that give the called rates by the confusion matrix, by multiplicative steps that keep
    them positive (expectation maximisation: Saerens et al. 2002, on calls instead of probs).
    """
    gold = np.nan_to_num(gold)
    counts = gold.sum(axis=0)
    has = counts > 0
    confusion = (gold.T @ called)[has] / counts[has, None]  # given a label, what is called
    before = counts[has] / counts.sum()
    shares = before.copy()
    for _ in range(2000):
        fitted = np.maximum(shares @ confusion, 1e-12)
        shares = shares * (confusion @ (rates / fitted))
        shares /= shares.sum()
    if np.abs(shares @ confusion - rates).max() > _UNEXPLAINED:
        return None
    factor = np.ones(len(counts))
    factor[has] = shares / before
    return factor
