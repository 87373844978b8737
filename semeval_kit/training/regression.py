"""Heads on fixed features: logistic, ridge and kernel regression, their strength chosen inside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score

from semeval_kit.task.metric_facts import NUMERIC

Array = NDArray[np.float64]
_ABSENT = -30.0  # the logit of what no row can be
_PARTS = 3
_TOLERANCE = 0.1  # of liblinear; more digits change no decision and take three times as long
_SEED = 0
_MOST_ANCHORS = 4000  # of a kernel: rows that others are compared with
_MOST_ROWS = 20_000  # that a kernel is fitted on; beyond, a linear head
_LEAST_CHANCE = 1e-3  # of a label, or a class: a kernel's values may lie beyond 0 and 1
_GAMMA = 0.5  # of a distance whose mean over the features is 1
_AT_ONCE = 10_000  # rows that are compared with all anchors
_NGRAM_WEIGHT = 0.15  # of their inner product, against the 1 of a Gaussian kernel for like rows
_JITTER = 1e-4  # beside the 1 of a text with itself, where two anchors are alike


@dataclass(frozen=True, eq=False)
class Head:
    """A map from features to some columns: linear in them, or in how like they are to anchors.

    Or in both, which add up.

    Attributes:
        coef: `(n_features, n_columns)`, float32.
        intercept: `(n_columns,)`, float32.
        start: the first of its columns among all targets.
        link: "sigmoid", "softmax", "identity", "chance" or "shares".
        name: how it was fitted.
        strength: C of the logistic regressions, alpha of the ridge.
        anchors: `(n_anchors, n_compared)`, float32, of the first features; None: it has none.
        weights: `(n_anchors, n_columns)`, float32, of how like a row is to each.
    """

    coef: NDArray[np.float32]
    intercept: NDArray[np.float32]
    start: int
    link: str
    name: str
    strength: float
    anchors: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def describe(self) -> dict[str, Any]:
        """All but the weights, as JSON-able values."""
        return {k: getattr(self, k) for k in ("start", "link", "name", "strength")}

    @property
    def n_weights(self) -> int:
        """How many numbers it is made of, but for intercepts."""
        return self.coef.size + sum(
            part.size for part in (self.anchors, self.weights) if part is not None
        )

    def probs(self, features: Any) -> Array:
        """Probabilities `(n, n_columns)` of features `(n, n_features)`."""
        values: Array = np.asarray(features @ self.coef.astype(np.float64)) + self.intercept
        if self.anchors is not None and self.weights is not None:
            for start in range(0, len(values), _AT_ONCE):
                rows = slice(start, start + _AT_ONCE)
                likeness = _compare(features[rows], self.anchors)
                values[rows] += likeness @ self.weights.astype(np.float64)
        return _LINKS[self.link](values)


def mean_heads(heads: Sequence[Head], features: Any) -> Array:
    """The mean of the heads that speak of the same columns, side by side `(n, n_targets)`."""
    by_start: dict[int, list[Array]] = {}
    for head in heads:
        by_start.setdefault(head.start, []).append(head.probs(features))
    return np.hstack([np.mean(by_start[start], axis=0) for start in sorted(by_start)])


def fit_heads(
    features: Any,
    targets: Array,
    kinds: Sequence[tuple[str, slice]],
    groups: Sequence[Hashable],
    seed: int,
    n_agreeing: int = 0,
) -> list[Head]:
    """Fit the heads of every target.

    Independent targets get two logistic regressions whose probs are averaged: one on the features
    as they are, and one on features scaled by their naive Bayes log-count ratio (Wang & Manning
    2012). Exclusive ones get one multinomial regression, numbers a ridge. Dense features, and the
    numbers of pairs, get a kernel ridge regression, if the rows are not too many: see `_Basis`.

    Args:
        features: `(n, n_features)`, sparse or dense.
        targets: `(n, n_targets)`, NaN where not annotated.
        kinds: the kind of each target and its columns.
        groups: `(n,)`; rows of a group are on one side when the strength is chosen.
        seed: of the parts on which the strength is chosen.
        n_agreeing: how many of the features, the first ones, say how the texts of a pair agree.
    """
    parts = _split(groups, seed)
    heads = []
    is_dense = not hasattr(features, "tocsr")
    n_compared = features.shape[1] if is_dense else n_agreeing
    is_small = n_compared > 0 and features.shape[0] <= _MOST_ROWS
    basis = None
    for kind, columns in kinds:
        gold = targets[:, columns]
        fitted = _FITTED[kind]
        if is_small and (is_dense or kind in NUMERIC):
            basis = basis or _Basis.of(features, n_compared, seed)
            head = _fit_head(fitted.by_kernel, basis.rows, gold, parts, columns.start)
            heads.append(basis.attach(head))
        else:
            for name in fitted.dense if is_dense else fitted.sparse:
                heads.append(_fit_head(name, features, gold, parts, columns.start))
    return heads


def _take_first(features: Any, n_compared: int) -> Array:
    """The first features of rows, dense."""
    first = features[:, :n_compared]
    return np.asarray(first.toarray() if hasattr(first, "toarray") else first)


def _compare(features: Any, anchors: NDArray[np.float32]) -> Array:
    """How like rows are to anchors in the first features `(n, n_anchors)`, from 0 to 1."""
    from sklearn.metrics.pairwise import rbf_kernel

    n_compared = anchors.shape[1]
    both = _take_first(features, n_compared), anchors.astype(np.float64)
    return np.asarray(rbf_kernel(*both, gamma=_GAMMA / n_compared))


@dataclass(frozen=True, eq=False)
class _Basis:
    """Rows as a kernel sees them: their inner products are how like the rows are.

    The kernel is Gaussian in the features that are compared; the others, which are n-grams, add
    their inner product. Anchors are all rows, or a draw of many (Williams & Seeger 2001).

    Attributes:
        rows: `(n, n_anchors)`.
        anchors: `(n_anchors, n_compared)`.
        others: `(n_anchors, n_features)`, what the anchors have in the features that add up.
        lower: the triangle that leads from likeness to `rows`.
    """

    rows: Array
    anchors: NDArray[np.float32]
    others: Any
    lower: Array

    @classmethod
    def of(cls, features: Any, n_compared: int, seed: int) -> _Basis:
        """Learn what is like what, in the first `n_compared` features and in the others."""
        from scipy import sparse
        from scipy.linalg import cholesky, solve_triangular

        n_rows, n_features = features.shape
        order = np.random.default_rng([seed, _MOST_ANCHORS]).permutation(n_rows)
        drawn = np.sort(order[:_MOST_ANCHORS])
        adds_up = sparse.diags((np.arange(n_features) >= n_compared).astype(float))
        others = features[drawn] @ adds_up
        anchors = _take_first(features[drawn], n_compared).astype(np.float32)
        likeness = _compare(features, anchors)
        if n_compared < n_features:
            likeness += _NGRAM_WEIGHT * (features @ others.T).toarray()
        among = likeness[drawn]
        among[np.diag_indices_from(among)] += _JITTER
        lower = cholesky(among, lower=True)
        return cls(solve_triangular(lower, likeness.T, lower=True).T, anchors, others, lower)

    def attach(self, head: Head) -> Head:
        """A head on `rows` as one on features."""
        from scipy.linalg import solve_triangular

        weights = solve_triangular(self.lower, head.coef, lower=True, trans="T")
        coef = np.asarray(_NGRAM_WEIGHT * (self.others.T @ weights))
        fp32 = coef.astype(np.float32), weights.astype(np.float32)
        return replace(head, coef=fp32[0], weights=fp32[1], anchors=self.anchors)


def _fit_head(name: str, features: Any, targets: Array, parts: NDArray[Any], start: int) -> Head:
    method = _METHODS[name]
    strength = _choose_strength(method, features, targets, parts)
    coef, intercept = method.fit(features, targets, strength)
    fp32 = coef.astype(np.float32), intercept.astype(np.float32)
    return Head(*fp32, start, method.link, name, strength)


def _choose_strength(method: _Method, features: Any, targets: Array, parts: NDArray[Any]) -> float:
    """The strength whose predictions of held-out parts are best, the first of equals."""
    if len(np.unique(parts)) < _PARTS:
        return method.strengths[len(method.strengths) // 2]
    scores = []
    for strength in method.strengths:
        predicted = np.zeros(targets.shape)
        for part in range(_PARTS):
            inside, outside = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
            coef, intercept = method.fit(features[inside], targets[inside], strength)
            predicted[outside] = _LINKS[method.link](
                np.asarray(features[outside] @ coef) + intercept
            )
        scores.append(method.judge(predicted, targets))
    return method.strengths[int(np.argmax(scores))]


def _split(groups: Sequence[Hashable], seed: int) -> NDArray[np.int64]:
    numbers: dict[Hashable, int] = {}
    units = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
    order = np.random.default_rng([seed, _PARTS]).permutation(len(numbers))
    return np.asarray(order[units] % _PARTS)


def _fit_binary(features: Any, targets: Array, strength: float) -> tuple[Array, Array]:
    """One regression per column; its answers weigh alike, however rare the positives are.

    Then the columns of all languages need like thresholds. Against weights of the square root,
    that gained 0.004 of cross-fitted macro-F1 over 24 languages, most where positives are rare.
    """

    def fit(annotated: NDArray[np.intp], gold: NDArray[np.bool_]) -> tuple[Array, float]:
        rows = features if len(annotated) == len(targets) else features[annotated]
        return _fit_logistic(rows, gold, strength)

    return _fit_columns(features.shape[1], targets, fit)


def _fit_bayes(features: Any, targets: Array, strength: float) -> tuple[Array, Array]:
    """As `_fit_binary`, each feature scaled by how much oftener it occurs in positives."""
    from scipy import sparse

    present = sparse.csr_matrix(features, copy=True)
    present.data = np.ones_like(present.data)

    def fit(annotated: NDArray[np.intp], gold: NDArray[np.bool_]) -> tuple[Array, float]:
        logs = []
        for is_class in (gold, ~gold):
            counts = 1.0 + np.asarray(present[annotated[is_class]].sum(axis=0)).ravel()
            logs.append(np.log(counts / counts.sum()))
        ratio = logs[0] - logs[1]
        ratio /= max(float(np.abs(ratio).max()), 1e-12)
        scaled = features[annotated] @ sparse.diags(ratio)
        weights, intercept = _fit_logistic(scaled.tocsr(), gold, strength)
        return weights * ratio, intercept

    return _fit_columns(features.shape[1], targets, fit)


def _fit_columns(
    n_features: int,
    targets: Array,
    fit: Callable[[NDArray[np.intp], NDArray[np.bool_]], tuple[Array, float]],
) -> tuple[Array, Array]:
    """`fit` the annotated rows of each column that has both answers; others are constants.

    Returns:
        Coefficients `(n_features, n_columns)` and intercepts `(n_columns,)`.
    """
    coef, intercept = np.zeros((n_features, targets.shape[1])), np.zeros(targets.shape[1])
    for column, truth in enumerate(targets.T):
        annotated = np.flatnonzero(~np.isnan(truth))
        gold = truth[annotated] > 0.5
        if not len(annotated) or gold.all() or not gold.any():
            intercept[column] = _constant(gold)
        else:
            coef[:, column], intercept[column] = fit(annotated, gold)
    return coef, intercept


def _fit_logistic(rows: Any, gold: NDArray[np.bool_], strength: float) -> tuple[Array, float]:
    model = LogisticRegression(
        C=strength,
        solver="liblinear",
        dual=rows.shape[1] > rows.shape[0],
        tol=_TOLERANCE,
        max_iter=300,
        random_state=_SEED,
        class_weight="balanced",
    )
    model.fit(rows, gold)
    return model.coef_[0], float(model.intercept_[0])


def _constant(gold: NDArray[np.bool_]) -> float:
    if not len(gold):
        return _ABSENT
    share = (gold.sum() + 0.5) / (len(gold) + 1)
    return float(np.log(share / (1 - share)))


def _fit_multinomial(features: Any, targets: Array, strength: float) -> tuple[Array, Array]:
    coef = np.zeros((features.shape[1], targets.shape[1]))
    intercept = np.full(targets.shape[1], _ABSENT)
    annotated = np.flatnonzero(~np.isnan(targets).any(axis=1))
    gold = targets[annotated].argmax(axis=1)
    classes = np.unique(gold)
    if len(classes) == 1:
        intercept[classes] = 0.0
    if len(classes) < 2:
        return coef, intercept
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
    model.fit(features[annotated], gold)
    if len(classes) == 2:  # of two classes it learns one, the second
        coef[:, classes[1]], intercept[classes[0]] = model.coef_[0], 0.0
        intercept[classes[1]] = model.intercept_[0]
    else:
        coef[:, classes], intercept[classes] = model.coef_.T, model.intercept_
    return coef, intercept


def _fit_ridge(
    features: Any, targets: Array, strength: float, solver: str = "lsqr"
) -> tuple[Array, Array]:
    """Ridge, the columns that are annotated in the same rows at once."""
    coef = np.zeros((features.shape[1], targets.shape[1]))
    intercept = np.zeros(targets.shape[1])
    annotated = ~np.isnan(targets)
    for pattern in np.unique(annotated, axis=1).T:
        columns = np.flatnonzero((annotated == pattern[:, None]).all(axis=0))
        if pattern.any():
            model = Ridge(alpha=strength, solver=solver, tol=1e-4)
            model.fit(features[pattern], targets[pattern][:, columns])
            coef[:, columns] = model.coef_.reshape(len(columns), -1).T
            intercept[columns] = model.intercept_
    return coef, intercept


def _judge_ranking(probs: Array, targets: Array) -> float:
    """Mean average precision of the columns that have both answers."""
    precisions = []
    for column, truth in zip(probs.T, targets.T, strict=True):
        annotated = ~np.isnan(truth)
        gold = truth[annotated] > 0.5
        if gold.any() and not gold.all():
            precisions.append(float(average_precision_score(gold, column[annotated])))
    return float(np.mean(precisions)) if precisions else 0.0


def _judge_likelihood(probs: Array, targets: Array) -> float:
    """Mean log-likelihood of the rows that are annotated."""
    annotated = ~np.isnan(targets).any(axis=1)
    logs = np.log(np.maximum(probs[annotated], 1e-12))
    return float((targets[annotated] * logs).sum(axis=1).mean()) if annotated.any() else 0.0


def _judge_distance(probs: Array, targets: Array) -> float:
    return -float(np.nanmean((probs - targets) ** 2))


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500))))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _clip(logits: Array) -> Array:
    return np.clip(logits, 0.0, 1.0)


def _chance(values: Array) -> Array:
    return np.clip(values, _LEAST_CHANCE, 1 - _LEAST_CHANCE)


def _share(values: Array) -> Array:
    positive = np.maximum(values, _LEAST_CHANCE)
    return np.asarray(positive / positive.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class _Method:
    fit: Callable[[Any, Array, float], tuple[Array, Array]]
    judge: Callable[[Array, Array], float]
    link: str
    strengths: tuple[float, ...]


_LINKS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "identity": _clip,
    "chance": _chance,
    "shares": _share,
}
_fit_exact_ridge = partial(_fit_ridge, solver="cholesky")
_ALPHAS = (0.5, 1.5, 5.0)
_DENSE = (0.0003, 0.001, 0.003, 0.01, 0.03)
_METHODS = {
    "logistic": _Method(_fit_binary, _judge_ranking, "sigmoid", (0.5, 1.0, 4.0)),
    "bayes": _Method(_fit_bayes, _judge_ranking, "sigmoid", (10.0, 30.0, 100.0)),
    "multinomial": _Method(_fit_multinomial, _judge_likelihood, "softmax", (1.0, 4.0, 16.0)),
    "ridge": _Method(_fit_ridge, _judge_distance, "identity", (0.3, 1.0, 3.0)),
    "dense": _Method(_fit_binary, _judge_ranking, "sigmoid", _DENSE),
    "dense multinomial": _Method(_fit_multinomial, _judge_likelihood, "softmax", _DENSE),
    "dense ridge": _Method(_fit_ridge, _judge_distance, "identity", (100.0, 1000.0, 10000.0)),
    # Of rows as a kernel sees them; of labels that gives the share of positives among like rows.
    "kernel": _Method(_fit_exact_ridge, _judge_ranking, "chance", _ALPHAS),
    "kernel shares": _Method(_fit_exact_ridge, _judge_likelihood, "shares", _ALPHAS),
    "kernel numbers": _Method(_fit_exact_ridge, _judge_distance, "identity", _ALPHAS),
}


@dataclass(frozen=True)
class _Fitted:
    """How the targets of a kind are fitted: by the mean of the methods, or by one with a kernel."""

    sparse: tuple[str, ...]
    dense: tuple[str, ...]
    by_kernel: str


_BINARY = _Fitted(("logistic", "bayes"), ("dense",), "kernel")
_FITTED = {
    "multilabel": _BINARY,
    "intensity": _BINARY,
    "singlelabel": _Fitted(("multinomial",), ("dense multinomial",), "kernel shares"),
    "regression": _Fitted(("ridge",), ("dense ridge",), "kernel numbers"),
    "distribution": _Fitted(("ridge",), ("dense ridge",), "kernel shares"),
}
