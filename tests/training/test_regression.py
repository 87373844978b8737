"""Heads on fixed features: what they say of rows whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from semeval_kit.training import regression
from semeval_kit.training.regression import Head, fit_heads, mean_heads

BINARY = [("multilabel", slice(0, 3))]


def rows(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Counts of six terms, and three labels: the first two terms tell the first two labels."""
    rng = np.random.default_rng(5)
    features = (rng.random((n, 6)) < 0.4).astype(np.float64)
    targets = np.stack([features[:, 0], features[:, 1], np.zeros(n)], axis=1)
    return features, targets


def test_a_label_is_learnt_from_its_term() -> None:
    features, targets = rows()
    matrix = sparse.csr_matrix(features)
    heads = fit_heads(matrix, targets, BINARY, range(120), 0)
    assert [(head.name, head.link) for head in heads] == [
        ("logistic", "sigmoid"),
        ("bayes", "sigmoid"),
    ]
    probs = mean_heads(heads, matrix)
    assert ((probs[:, :2] >= 0.5) == (targets[:, :2] == 1)).all()
    np.testing.assert_allclose(probs[:, 2], 0.5 / 121)  # never seen: as rare as the rows allow


def test_cells_that_are_not_annotated_teach_nothing() -> None:
    features, targets = rows()
    hidden = targets.copy()
    hidden[::2, 0] = np.nan
    hidden[:, 2] = np.nan
    heads = fit_heads(sparse.csr_matrix(features), hidden, BINARY, range(120), 0)
    own = [("multilabel", slice(0, 1))]
    half = fit_heads(sparse.csr_matrix(features[1::2]), targets[1::2, :1], own, range(60), 0)
    strengths = {(h.name, h.strength) for h in heads} & {(h.name, h.strength) for h in half}
    assert strengths
    probs = mean_heads(heads, sparse.csr_matrix(features))
    assert (probs[:, 2] < 1e-12).all()
    for one, other in zip(heads, half, strict=True):
        if one.strength == other.strength:
            np.testing.assert_array_equal(one.coef[:, 0], other.coef[:, 0])


def test_exclusive_classes_sum_to_one_and_an_absent_one_gets_nothing() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(90, 3))
    chosen = features.argmax(axis=1)
    targets = np.zeros((90, 4))
    targets[np.arange(90), chosen] = 1
    for given, link, least in (
        (sparse.csr_matrix(features), "softmax", 0),
        (features, "shares", 1e-3),
    ):
        heads = fit_heads(given, targets, [("singlelabel", slice(0, 4))], range(90), 0)
        probs = mean_heads(heads, given)
        assert [head.link for head in heads] == [link]
        np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-12)
        assert (probs[:, 3] < least + 1e-9).all()
        assert (probs.argmax(axis=1) == chosen).mean() > 0.8


@pytest.mark.parametrize("classes", [(0, 2), (1,)])
def test_one_or_two_classes_are_learnt(classes: tuple[int, ...]) -> None:
    features = np.eye(2)[np.arange(40) % 2]
    targets = np.zeros((40, 3))
    targets[np.arange(40), [classes[row % len(classes)] for row in range(40)]] = 1
    heads = fit_heads(features, targets, [("singlelabel", slice(0, 3))], range(40), 0)
    probs = mean_heads(heads, features)
    assert (probs.argmax(axis=1) == targets.argmax(axis=1)).all()


def test_numbers_are_kept_within_their_range() -> None:
    features = np.linspace(-2, 2, 60)[:, None]
    targets = np.clip(0.5 + features / 3, 0, 1)
    heads = fit_heads(features, targets, [("regression", slice(0, 1))], range(60), 0)
    probs = mean_heads(heads, features)
    assert probs.min() >= 0.0
    assert probs.max() <= 1.0
    assert np.corrcoef(probs[:, 0], targets[:, 0])[0, 1] > 0.98


def test_a_number_of_pairs_is_read_from_how_both_agree_and_from_the_rest() -> None:
    generator = np.random.default_rng(5)
    agreement = generator.normal(size=(300, 2))
    terms = (generator.random((300, 30)) < 0.2).astype(float)
    told = np.clip(0.5 + np.sin(agreement[:, 0]) / 4 + terms[:, 3] / 4, 0, 1)[:, None]
    features = sparse.csr_matrix(np.hstack([agreement, terms]))
    (head,) = fit_heads(features[:200], told[:200], [("regression", slice(0, 1))], range(200), 0, 2)
    assert head.name == "kernel numbers"
    assert head.anchors is not None
    assert head.anchors.shape == (200, 2)
    assert head.coef.shape == (32, 1)
    assert not head.coef[:2].any()  # they are compared
    assert np.abs(head.coef[2:]).argmax() == 3
    found = mean_heads([head], features[200:])
    assert np.corrcoef(found[:, 0], told[200:, 0])[0, 1] > 0.95
    # other kinds read n-grams as they do without pairs
    labels = (told > 0.5).astype(float)
    heads = fit_heads(features, labels, [("multilabel", slice(0, 1))], range(300), 0, 2)
    assert [head.name for head in heads] == ["logistic", "bayes"]


def test_copies_of_a_text_are_on_one_side_when_the_strength_is_chosen() -> None:
    features, targets = rows()
    doubled = sparse.csr_matrix(np.vstack([features, features]))
    groups = [*range(120), *range(120)]
    together = fit_heads(doubled, np.vstack([targets, targets]), BINARY, groups, 0)
    again = fit_heads(doubled, np.vstack([targets, targets]), BINARY, groups, 0)
    for one, other in zip(together, again, strict=True):
        assert one.describe() == other.describe()
        np.testing.assert_array_equal(one.coef, other.coef)


def test_heads_of_the_same_columns_are_averaged() -> None:
    zero = Head(np.zeros((1, 1), np.float32), np.zeros(1, np.float32), 0, "sigmoid", "a", 1.0)
    sure = Head(np.zeros((1, 1), np.float32), np.full(1, 30, np.float32), 0, "sigmoid", "b", 1.0)
    found = mean_heads([zero, sure], np.ones((2, 1)))
    np.testing.assert_allclose(found, [[0.75], [0.75]], atol=1e-9)


def test_a_kernel_learns_what_no_line_divides_and_leaves_out_what_is_not_annotated() -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(400, 2))
    ring = (np.linalg.norm(features, axis=1) < 1.1).astype(float)[:, None]
    kinds = [("multilabel", slice(0, 1))]
    (head,) = fit_heads(features[:300], ring[:300], kinds, range(300), 0)
    assert (head.name, head.link) == ("kernel", "chance")
    assert head.anchors is not None
    assert head.anchors.shape == (300, 2)
    found = mean_heads([head], features[300:])
    assert ((found >= 0.5) == (ring[300:] == 1)).mean() > 0.9
    assert found.min() >= 1e-3
    # the answers of rows that are not annotated are never seen
    hidden = ring[:300].copy()
    hidden[::3] = np.nan
    both = np.hstack([hidden, ring[:300]])
    pair = [("multilabel", slice(0, 1)), ("multilabel", slice(1, 2))]
    partly = mean_heads(fit_heads(features[:300], both, pair, range(300), 0), features[300:])
    assert not np.allclose(partly[:, 0], partly[:, 1])
    np.testing.assert_allclose(partly[:, 1:], found, atol=1e-12)


def test_a_kernel_ridge_is_that_of_the_library() -> None:
    from sklearn.kernel_ridge import KernelRidge

    generator = np.random.default_rng(4)
    features = generator.normal(size=(80, 3)).astype(np.float32).astype(np.float64)
    told = np.clip(0.5 + np.sin(features[:, :1]) / 3, 0, 1)
    (head,) = fit_heads(features, told, [("regression", slice(0, 1))], range(80), 0)
    peer = KernelRidge(alpha=head.strength, kernel="rbf", gamma=0.5 / 3)
    peer.fit(features, told - head.intercept)
    np.testing.assert_allclose(
        mean_heads([head], features), peer.predict(features) + head.intercept, atol=2e-3
    )


def test_beyond_what_a_kernel_takes_a_line_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(6).normal(size=(120, 4))
    targets = (features[:, :1] > 0).astype(float)
    kinds = [("multilabel", slice(0, 1))]
    monkeypatch.setattr(regression, "_MOST_ANCHORS", 50)
    (few,) = fit_heads(features, targets, kinds, range(120), 0)
    assert few.weights is not None
    assert few.weights.shape == (50, 1)
    assert ((mean_heads([few], features) >= 0.5) == (targets == 1)).mean() > 0.9
    monkeypatch.setattr(regression, "_MOST_ROWS", 100)
    (line,) = fit_heads(features, targets, kinds, range(120), 0)
    assert (line.name, line.anchors) == ("dense", None)
