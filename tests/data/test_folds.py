"""Folds: evenness against a known implementation, groups, seeds, warnings."""

from __future__ import annotations

import numpy as np
import pytest

from semeval_kit.data.examples import Examples
from semeval_kit.data.folds import assign_folds, assign_holdout, scarce_labels
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError

N_FOLDS = 5


def make_rows(n: int, seed: int = 0) -> tuple[list[str], np.ndarray, list[str]]:
    draw = np.random.default_rng(seed)
    rates = np.array([0.5, 0.3, 0.15, 0.08, 0.04])
    targets = (draw.random((n, len(rates))) < rates).astype(float)
    texts = [f"text number {row}" for row in range(n)]
    languages = ["eng" if row % 3 else "deu" for row in range(n)]
    return texts, targets, languages


def number_texts(texts: list[str], **given: tuple[str, ...]) -> np.ndarray:
    """The groups of rows that say these texts."""
    labels = np.zeros((len(texts), 1))
    ids = tuple(map(str, range(len(texts))))
    return number_groups(Examples(ids, tuple(texts), ids, ("joy",), labels, **given))


def spread(folds: np.ndarray, targets: np.ndarray) -> float:
    """The largest deviation of a fold's positives from an even share, over labels."""
    counts = np.array([targets[folds == fold].sum(axis=0) for fold in range(N_FOLDS)])
    return float(np.abs(counts - targets.sum(axis=0) / N_FOLDS).max())


def oracle(targets: np.ndarray, seed: int) -> np.ndarray:
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # scikit-learn takes a second

    folds = np.empty(len(targets), dtype=int)
    splitter = MultilabelStratifiedKFold(n_splits=N_FOLDS, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(targets, targets)):
        folds[held_out] = fold
    return folds


@pytest.mark.parametrize("seed", range(4))
def test_positives_are_as_even_as_by_iterative_stratification(seed: int) -> None:
    texts, targets, _ = make_rows(600, seed)
    folds = assign_folds(number_texts(texts), targets, ["eng"] * 600, N_FOLDS, seed)
    assert spread(folds, targets) <= spread(oracle(targets, seed), targets) + 1
    sizes = np.bincount(folds, minlength=N_FOLDS)
    assert sizes.sum() == 600
    assert sizes.max() - sizes.min() <= 12


def test_every_language_is_spread_evenly() -> None:
    texts, targets, languages = make_rows(900)
    folds = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 0)
    for language in ("eng", "deu"):
        here = np.array([name == language for name in languages])
        assert spread(folds[here], targets[here]) <= 2
        plain = here & (targets.sum(axis=1) == 0)
        counts = np.bincount(folds[plain], minlength=N_FOLDS)
        assert counts.max() - counts.min() <= 2


def test_rows_that_are_not_annotated_count_as_no_positives() -> None:
    texts, targets, languages = make_rows(300)
    targets[np.array(languages) == "eng", 1] = np.nan
    folds = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 0)
    assert spread(folds, np.nan_to_num(targets)) <= 2


def test_texts_that_are_the_same_share_a_fold() -> None:
    texts, targets, languages = make_rows(200)
    texts[10] = texts[3].upper()
    texts[57] = f"  {texts[3]}  "
    texts[100] = texts[3].replace(" ", "\u00a0")
    folds = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 0)
    assert len({folds[row] for row in (3, 10, 57, 100)}) == 1


def test_large_groups_do_not_upset_the_balance() -> None:
    texts, targets, languages = make_rows(400)
    for row in range(60):
        texts[row] = f"group {row % 4}"
    folds = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 0)
    sizes = np.bincount(folds, minlength=N_FOLDS)
    assert sizes.max() - sizes.min() <= 16
    for group in range(4):
        assert len({folds[row] for row in range(group, 60, 4)}) == 1


def test_the_seed_decides() -> None:
    texts, targets, languages = make_rows(120)
    first = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 7)
    again = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 7)
    other = assign_folds(number_texts(texts), targets, languages, N_FOLDS, 8)
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_fewer_texts_than_folds_are_refused() -> None:
    targets = np.ones((6, 1))
    with pytest.raises(KitError, match="2 groups or different texts cannot make 3 folds"):
        assign_folds(number_texts(["a", "b", "A", "a", "b", "B "]), targets, ["eng"] * 6, 3, 0)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_holdout_takes_its_share_of_every_label(share: float) -> None:
    texts, targets, languages = make_rows(800)
    folds = assign_holdout(number_texts(texts), targets, languages, share, 0)
    held_out = folds == 0
    assert set(folds.tolist()) == {0, -1}
    assert held_out.mean() == pytest.approx(share, abs=0.01)
    taken = targets[held_out].sum(axis=0)
    assert np.abs(taken - share * targets.sum(axis=0)).max() <= 2


def test_a_holdout_needs_two_texts() -> None:
    with pytest.raises(KitError, match="two groups or different texts"):
        assign_holdout(number_texts(["a", "A"]), np.ones((2, 1)), ["eng"] * 2, 0.5, 0)


def test_scarce_labels_are_named_and_labels_nobody_annotated_are_not() -> None:
    targets = np.array([[1.0, 0, np.nan], [1, 1, np.nan], [1, 0, np.nan], [1, np.nan, np.nan]])
    found = scarce_labels(targets, ["joy", "fear", "disgust"], 3)
    assert found == [
        "label 'fear' has 1 positive row for 3 folds: some folds have none. Consider fewer folds."
    ]


def test_a_named_group_takes_the_place_of_the_text() -> None:
    texts = ["one", "One", "two", "three"]
    assert number_texts(texts).tolist() == [0, 0, 1, 2]
    assert number_texts(texts, groups=("film", "song", "song", "film")).tolist() == [0, 1, 1, 0]
    folds = assign_folds(
        number_texts(texts, groups=("film", "song", "song", "film")), np.ones((4, 1)), texts, 2, 0
    )
    assert folds[0] == folds[3] != folds[1] == folds[2]


def test_pairs_that_share_a_text_are_tied_through_all_of_them() -> None:
    texts = ["one", "One", "two", "three", "x"]
    assert number_texts(texts, pairs=("x", "y", "z", "w", "one")).tolist() == [0, 0, 1, 2, 0]
    # The chain a-b, b-c, c-d, and the second text of one row as the first of another.
    assert number_texts(["a", "c", "e", "c"], pairs=("b", "B", "f", "d")).tolist() == [0, 0, 1, 0]
    assert number_texts(["a", "b"], pairs=("b", "a"), groups=("1", "2")).tolist() == [0, 1]


def test_a_text_of_very_many_pairs_ties_nothing() -> None:
    """One question asked of every text: rows stay apart, but the same row twice does not."""
    texts = [f"answer {row // 2}" for row in range(60)]
    asked = ("Is it so?",) * 60
    assert number_texts(texts, pairs=asked).tolist() == [row // 2 for row in range(60)]
    few = number_texts([f"answer {row}" for row in range(10)], pairs=asked[:10])
    assert few.tolist() == [0] * 10
    same = number_texts(["It is so"] * 30 + texts[:30], pairs=asked[:30] + ("No",) * 30)
    assert same[:30].tolist() == [0] * 30
