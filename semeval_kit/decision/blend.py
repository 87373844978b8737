"""Blends: weights of members by forward selection, and what each member adds.

Members are added one at a time, with replacement, where they raise the average precision of the
mean most (Caruana et al. 2004, "Ensemble selection from libraries of models"), in bootstraps of the
rows, whose weights are averaged. What a language chose is shrunk towards what all rows chose, and
that towards the uniform mean. A label gets weights of its own only where these win on rows that did
not choose them. Average precision asks for ranks, as thresholds do that are tuned afterwards: by
log loss a member that is not calibrated lost its say (English, three members: 0.664, against 0.671
by average precision), and F1 of a few hundred rows rewards chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.estimate import make_board
from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, Spelled, split_languages
from semeval_kit.decision.resampling import find_interval, part_rows
from semeval_kit.decision.tallies import draw_counts
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import cross_fit
from semeval_kit.errors import KitError

_MANY_ROWS = 10_000
_WIN_BAGS = 3  # whether a label's own weights win needs no final ones
_WIN_DRAWS = 40
_JUDGE_BAGS = 20  # for so many systems fewer than for the one uploaded
_N_RESAMPLES = 1000


@dataclass(frozen=True)
class Blending:
    """How weights are chosen.

    Attributes:
        n_bags: bootstraps whose weights are averaged.
        n_steps: members added in each, one by one.
        shrinkage: rows at which the rows' own weights and those they lean on weigh the same.
        by_label: whether a label may have weights of its own (not where labels exclude each other).
    """

    seed: int = 0
    n_bags: int = 10
    n_steps: int = 15
    shrinkage: float = 200.0
    by_label: bool = True


@dataclass(frozen=True, eq=False)
class BlendWeights(Spelled):
    """The weights of M members, which add up to 1 in every cell.

    Attributes:
        joint: `(C, M)`, for languages that no weights were chosen for.
        values: per language `(C, M)`.
        own: per language, the targets that have weights of their own.
    """

    names: tuple[str, ...]
    target_names: tuple[str, ...]
    joint: FloatArray
    values: dict[str, FloatArray] = field(default_factory=dict)
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, language: str) -> FloatArray:
        """The weights `(C, M)` of a language."""
        return self.values.get(language, self.joint)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> BlendWeights:
        """The weights that `to_json` wrote, equal in every bit."""
        return cls(
            names=tuple(stored["names"]),
            target_names=tuple(stored["target_names"]),
            joint=np.array(stored["joint"], dtype=np.float64),
            values={g: np.array(t, dtype=np.float64) for g, t in stored["values"].items()},
            own={g: tuple(labels) for g, labels in stored["own"].items()},
        )


def mix_members(
    members: Sequence[FloatArray], weights: BlendWeights, languages: Sequence[str]
) -> FloatArray:
    """The weighted mean `(n, C)` of the members' probs, each `(n, C)`.

    Members are added in their order, so the same members give the same bytes.

    Raises:
        KitError: shapes differ, or there are not as many members as weights.
    """
    shapes = {np.shape(member) for member in members}
    if len(shapes) != 1 or len(members) != len(weights.names):
        raise KitError(
            f"blend: {len(members)} members of shapes {sorted(shapes)} for {len(weights.names)} "
            "weights. Predict the same rows and targets with each."
        )
    mixed = np.zeros(shapes.pop())
    for language, rows in split_languages(languages).items():
        table = weights.of(language)
        whole = len(rows) == len(languages)
        for number, member in enumerate(members):
            if whole:
                mixed += table[:, number] * member
            else:
                mixed[rows] += table[:, number] * member[rows]
    return np.clip(mixed, 0.0, 1.0, out=mixed)  # sums of weights may round above 1


def fix_weights(
    names: Sequence[str], target_names: Sequence[str], weights: Sequence[float]
) -> BlendWeights:
    """The same weights `(M,)` for every language and target, scaled to add up to 1."""
    table = np.asarray(weights, dtype=np.float64)
    table = np.tile(table / table.sum(), (len(target_names), 1))
    return BlendWeights(tuple(names), tuple(target_names), table)


def choose_weights(
    members: Sequence[FloatArray], rows: OofRows, names: Sequence[str], blending: Blending
) -> BlendWeights:
    """Choose the weights on the rows given.

    Members are the probs `(n, C)` of each; of the rows only targets, languages, groups and folds
    are looked at.
    """
    n_members, n_targets = len(members), len(rows.target_names)
    stacked = np.stack(members).astype(np.float64)
    uniform = np.full(n_members, 1 / n_members)
    pool = _sample(rows, blending.seed)
    joint = _Bench(stacked[:, pool], rows.take(pool), blending).choose(uniform)
    rows_of = split_languages(rows.languages)
    values, own = {}, {}
    for language, numbers in rows_of.items():
        sampled = np.sort(numbers[_sample(rows.take(numbers), blending.seed)])
        bench = _Bench(stacked[:, sampled], rows.take(sampled), blending)
        shared = joint if len(rows_of) == 1 else bench.choose(joint)
        table = np.tile(shared, (n_targets, 1))
        wins = bench.list_wins(joint) if blending.by_label else []
        for target in wins:
            table[target] = bench.choose(shared, target)
        values[language] = table
        own[language] = tuple(rows.target_names[target] for target in wins)
    return BlendWeights(
        tuple(names), rows.target_names, np.tile(joint, (n_targets, 1)), values, own
    )


def cross_fit_blend(
    members: Sequence[FloatArray], rows: OofRows, names: Sequence[str], blending: Blending
) -> FloatArray:
    """Probs `(n, C)` of each fold, blended by the weights that the other folds chose.

    Rows of one fold (a hold-out) are parted at random, by group.
    """
    parts = part_rows(rows, [blending.seed, 3, 0])
    mixed = np.empty(rows.targets.shape)
    for part in np.unique(parts):
        inside, outside = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        taken = [member[inside] for member in members]
        weights = choose_weights(taken, rows.take(inside), names, blending)
        languages = [rows.languages[row] for row in outside]
        mixed[outside] = mix_members([member[outside] for member in members], weights, languages)
    return mixed


def judge_blend(
    members: Sequence[FloatArray],
    blended: FloatArray,
    rows: OofRows,
    names: Sequence[str],
    target_rows: Callable[[FloatArray], OofRows],
    tuning: Tuning,
    blending: Blending,
) -> dict[str, Any]:
    """Score the blend beside plainer ones: the uniform mean, each member, and without each member.

    Args:
        members: probs `(n, C)` of each.
        blended: probs `(n, C)`, cross-fitted.
        rows: of all targets.
        names: of the members.
        target_rows: probs `(n, C)` as the out-of-fold rows of the one target that is judged.
        tuning: of its rule.
        blending: of the weights of "without ...".

    Returns:
        JSON-able: the metric, and under "systems" one entry each with name, score, low, high (95%)
        and `less`, the blend's score minus this one's with its paired interval.
    """
    parted = replace(rows, folds=part_rows(rows, [blending.seed, 3, 0]))
    systems: dict[str, FloatArray] = {"blend": blended}
    if len(members) > 1:
        systems["uniform mean"] = np.mean(np.stack(members), axis=0)
    systems |= {name: np.asarray(m) for name, m in zip(names, members, strict=True)}
    if len(members) > 2:
        for left_out, name in enumerate(names):
            remaining = [m for number, m in enumerate(members) if number != left_out]
            others = [n for n in names if n != name]
            plain = replace(blending, by_label=False)
            systems[f"without {name}"] = cross_fit_blend(remaining, parted, others, plain)
    quick = replace(tuning, n_bags=min(tuning.n_bags, _JUDGE_BAGS))
    answers = [
        cross_fit(replace(target_rows(probs), folds=parted.folds), quick)
        for probs in systems.values()
    ]
    board = make_board(target_rows(blended), tuning)
    drawn = board.resample(answers, _N_RESAMPLES, blending.seed)
    entries = []
    for number, (name, preds) in enumerate(zip(systems, answers, strict=True)):
        score = board.score(preds)
        less = board.score(answers[0]) - score
        entries.append(
            {
                "name": name,
                "score": score,
                "interval": list(find_interval(drawn[:, number])),
                "less": [less, *find_interval(drawn[:, 0] - drawn[:, number])],
            }
        )
    return {"metric": board.metric, "n_examples": len(rows), "systems": entries}


class _Bench:
    """Rows on which mixes of members are compared; a mix is how often each member was added."""

    def __init__(self, members: FloatArray, rows: OofRows, blending: Blending) -> None:
        self.members, self.rows, self.blending = members, rows, blending
        self.ranked: dict[tuple[tuple[int, ...], int], tuple[IntArray, FloatArray]] = {}
        self.units = np.unique(rows.groups, return_inverse=True)[1]
        filled = np.where(np.isnan(rows.targets), 0.0, rows.targets)
        self.binary = [bool(np.isin(column, (0.0, 1.0)).all()) for column in filled.T]

    def choose(self, anchor: FloatArray, target: int | None = None) -> FloatArray:
        """Weights `(M,)` by all rows, shrunk towards the anchor."""
        return self.choose_on(np.ones(len(self.rows)), anchor, target, self.blending.n_bags)

    def list_wins(self, anchor: FloatArray) -> list[int]:
        """Targets whose own weights rank better the parts that did not choose them."""
        parts = part_rows(self.rows, [self.blending.seed, 3, 0])
        shared, own = np.zeros_like(self.rows.targets), np.zeros_like(self.rows.targets)
        for part in np.unique(parts):
            inside, outside = (parts != part).astype(np.float64), np.flatnonzero(parts == part)
            first = self.choose_on(inside, anchor, None, _WIN_BAGS)
            again = self.choose_on(inside, first, None, _WIN_BAGS)  # as far from the anchor as own
            for target in range(own.shape[1]):
                members = self.members[:, outside, target]
                shared[outside, target] = again @ members
                own[outside, target] = self.choose_on(inside, first, target, _WIN_BAGS) @ members
        return [target for target in range(own.shape[1]) if self.wins(shared, own, target)]

    def wins(self, shared: FloatArray, own: FloatArray, target: int) -> bool:
        """Whether one ranking is better than the other by more than two standard errors."""
        ranks = [self.rank(probs[:, target], target) for probs in (shared, own)]
        gains = [
            self.score(ranks[1], counts, target) - self.score(ranks[0], counts, target)
            for counts in [np.ones(len(self.rows)), *self.draw(_WIN_DRAWS)]
        ]
        return gains[0] > 2 * float(np.std(gains[1:])) > 0

    def draw(self, n_draws: int) -> list[FloatArray]:
        """Bootstraps of the groups: how often each row was drawn, `(n,)` each."""
        rng = np.random.default_rng([self.blending.seed, 4])
        return list(draw_counts(n_draws, self.units, rng).astype(float))

    def choose_on(
        self, inside: FloatArray, anchor: FloatArray, target: int | None, n_bags: int
    ) -> FloatArray:
        drawn = [counts * inside for counts in self.draw(n_bags)]
        bags = [self.select(counts, target) if counts.any() else anchor for counts in drawn]
        n_rows = self.count_rows(inside, target)
        share = n_rows / (n_rows + self.blending.shrinkage)
        result: FloatArray = share * np.mean(bags, axis=0) + (1 - share) * anchor
        return result

    def count_rows(self, inside: FloatArray, target: int | None) -> float:
        """Rows that speak; of a single target twice its rarer answer at most."""
        if target is None:
            return float(inside.sum())
        truth = self.rows.targets[:, target][inside > 0]
        positives = float(np.nansum(truth))
        return 2 * min(positives, float((~np.isnan(truth)).sum()) - positives)

    def select(self, counts: FloatArray, target: int | None) -> FloatArray:
        """One forward selection on rows that count `(n,)`: the best mix on the way."""
        n_members = len(self.members)
        targets = range(self.members.shape[2]) if target is None else [target]
        state: tuple[int, ...] = (0,) * n_members
        best, best_score = state, -np.inf
        for _ in range(self.blending.n_steps):
            nexts = [tuple(c + (m == k) for k, c in enumerate(state)) for m in range(n_members)]
            scores = [
                sum(self.score(self.rank_mix(mix, t), counts, t) for t in targets) for mix in nexts
            ]
            state = nexts[int(np.argmax(scores))]
            if max(scores) > best_score + 1e-12:
                best, best_score = state, max(scores)
        return np.array(best, dtype=np.float64) / sum(best)

    def rank_mix(self, mix: tuple[int, ...], target: int) -> tuple[IntArray, FloatArray]:
        """`rank` of a mix; kept, since bags come by the same mixes again."""
        if (mix, target) not in self.ranked:
            weights = np.array(mix, dtype=np.float64) / sum(mix)
            self.ranked[mix, target] = self.rank(weights @ self.members[:, :, target], target)
        return self.ranked[mix, target]

    def rank(self, probs: FloatArray, target: int) -> tuple[IntArray, FloatArray]:
        """Annotated rows, the most probable first, and per row its answer, of numbers the error."""
        truth = self.rows.targets[:, target]
        annotated = np.flatnonzero(~np.isnan(truth))
        order = annotated[np.argsort(-probs[annotated], kind="stable")]
        if self.binary[target]:
            return order, truth[order]
        return order, (probs[order] - truth[order]) ** 2

    def score(self, ranked: tuple[IntArray, FloatArray], counts: FloatArray, target: int) -> float:
        """Average precision of rows that count `(n,)`; of numbers, minus the mean squared error."""
        order, values = ranked
        drawn = counts[order]
        if not self.binary[target]:
            return -float((drawn * values).sum() / max(drawn.sum(), 1.0))
        hits = drawn * values
        total = hits.sum()
        if not total:
            return 0.0
        precision = np.cumsum(hits) / np.maximum(np.cumsum(drawn), 1.0)
        return float((hits * precision).sum() / total)


def _sample(rows: OofRows, seed: int) -> NDArray[np.int64]:
    """At most `_MANY_ROWS` row numbers, ascending: more choose no better."""
    if len(rows) <= _MANY_ROWS:
        return np.arange(len(rows))
    rng = np.random.default_rng([seed, 5])
    return np.sort(rng.choice(len(rows), _MANY_ROWS, replace=False))
