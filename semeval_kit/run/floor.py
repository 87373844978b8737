"""The linear floor: what n-grams and a regression reach on the same folds, in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples

# More rows than these make the floor no better known, only slower.
_MAX_ROWS = 20_000
_MAX_NGRAMS = 50_000


def fit_floor(
    examples: Examples, targets: NDArray[np.float64], folds: NDArray[np.int64], numeric: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Out-of-fold probabilities of word n-grams with logistic (of numbers: ridge) regression.

    Args:
        examples: the out-of-fold rows; a pair is read after its text.
        targets: `(n, C)` of 0, 1 and NaN, or numbers.
        folds: `(n,)`, at least two.
        numeric: whether targets are numbers.

    Returns:
        Positions of the rows that were used `(m,)`, at most 20,000, and their probs `(m, C)`.
    """
    rows = np.arange(len(examples))
    if len(rows) > _MAX_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MAX_ROWS, replace=False))
    texts = [examples.texts[row] for row in rows]
    if examples.pairs:
        texts = [f"{text} {examples.pairs[row]}" for text, row in zip(texts, rows, strict=True)]
    probs = np.full((len(rows), targets.shape[1]), np.nan)
    for fold in np.unique(folds[rows]):
        held_out = folds[rows] == fold
        grams = _vectorize([t for t, out in zip(texts, held_out, strict=True) if not out], texts)
        for column, gold in enumerate(targets[rows].T):
            train = ~held_out & ~np.isnan(gold)
            probs[held_out, column] = _predict(grams[train], gold[train], grams[held_out], numeric)
    return rows, probs


def _vectorize(train: list[str], texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    for pattern in (r"(?u)\b\w\w+\b", r"(?u)\S"):  # words; signs, where there are no words
        grams = TfidfVectorizer(
            ngram_range=(1, 2),
            token_pattern=pattern,
            min_df=2,
            max_features=_MAX_NGRAMS,
            sublinear_tf=True,
        )
        try:
            return grams.fit(train).transform(texts)
        except ValueError:  # nothing occurs twice
            continue
    from scipy.sparse import csr_matrix

    return csr_matrix((len(texts), 1))


def _predict(train: Any, gold: NDArray[np.float64], held_out: Any, numeric: bool) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if not len(gold) or gold.min() == gold.max():
        return np.full(held_out.shape[0], gold[0] if len(gold) else 0.0)
    if numeric:
        return Ridge(alpha=1.0).fit(train, gold).predict(held_out)
    model = LogisticRegression(C=4.0, class_weight="balanced", solver="liblinear", random_state=0)
    return model.fit(train, gold).predict_proba(held_out)[:, 1]
