from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.rule import IntensityRule, Thresholds, decode_probs
from semeval_kit.decision.thresholds import Tuning, constant_thresholds, tune_thresholds
from semeval_kit.decision.tuning import tune_rule, untuned_rule
from semeval_kit.errors import KitError


def test_the_room_needs_no_heavy_library() -> None:
    code = (
        "import sys, semeval_kit.decision.estimate, semeval_kit.decision.estimate;"
        "heavy = {'torch', 'transformers', 'sklearn', 'pandas', 'scipy', 'pydantic'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_rows_gather_the_cuts_of_each_language() -> None:
    rule = IntensityRule(
        method="expected_value",
        label_names=("joy",),
        n_levels=2,
        cuts={"eng": np.array([[0.5, 1.5]]), "deu": np.array([[np.nan, np.nan]])},
        joint=np.array([[0.4, 1.1]]),
    )
    found = rule.rows(["zul", "eng", "deu", "eng"])
    assert found.shape == (4, 1, 2)
    np.testing.assert_array_equal(
        found[:, 0], [[0.4, 1.1], [0.5, 1.5], [np.nan, np.nan], [0.5, 1.5]]
    )
    assert rule.rows([]).shape == (0, 1, 2)


EXACT = Tuning(n_bags=0, shrinkage=0, min_positives=0)


def half(languages: list[str], n_targets: int = 2):
    n = len(languages)
    names = [f"label {c}" for c in range(n_targets)]
    gold = np.zeros((n, n_targets))
    rows = OofRows.of(np.zeros((n, n_targets)), gold, languages, names)
    return constant_thresholds(rows, 0.5, "half")


def test_a_prob_equal_to_its_threshold_is_positive() -> None:
    below = np.nextafter(0.5, 0)
    probs = np.array([[0.5, below], [below, 0.5]])
    assert decode_probs("multilabel", probs, half(["eng"]), ["eng"] * 2).tolist() == [
        [1, 0],
        [0, 1],
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=20))
@settings(max_examples=100, deadline=None)
def test_decoding_the_tuned_rows_gives_the_f1_of_the_best_cut(
    drawn: list[tuple[int, bool]],
) -> None:
    """Tuner and decoder agree about >=, on ties and at both ends (scores 0 and 1 occur)."""
    probs = np.array([[score / 4] for score, _ in drawn])
    gold = np.array([[float(hit)] for _, hit in drawn])
    languages = ["eng"] * len(drawn)
    found = tune_thresholds(OofRows.of(probs, gold, languages, ["joy"]), EXACT)

    def f1(preds: np.ndarray) -> float:
        return 2 * float((gold * preds).sum()) / max(float((gold + preds).sum()), 1)

    best = max(f1(probs >= cut) for cut in (0, 0.25, 0.5, 0.75, 1, 2))
    assert f1(decode_probs("multilabel", probs, found, languages)) == best


def test_a_language_never_tuned_on_gets_the_joint_thresholds(noisy) -> None:
    probs, gold = noisy(300, 0)
    found = tune_thresholds(OofRows.of(probs, gold, ["eng"] * 150 + ["deu"] * 150, list("abcde")))
    preds = decode_probs("multilabel", probs, found, ["zul"] * 300)
    assert preds.tolist() == (probs >= found.joint).astype(int).tolist()


def test_rows_of_mixed_languages_take_their_own_threshold(noisy) -> None:
    probs, gold = noisy(300, 1)
    languages = ["eng", "deu", "afr"] * 100
    found = tune_thresholds(OofRows.of(probs, gold, languages, list("abcde")))
    preds = decode_probs("multilabel", probs, found, languages)
    for row in range(6):
        assert preds[row].tolist() == (probs[row] >= found.values[languages[row]]).tolist()


def test_singlelabel_is_one_hot_of_the_highest_and_the_first_of_a_tie() -> None:
    probs = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]])
    preds = decode_probs(
        "singlelabel", probs, Thresholds.even(tuple("abc"), 0.0, "argmax"), ["eng"] * 2
    )
    assert preds.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_singlelabel_never_chooses_a_label_that_the_language_lacks() -> None:
    probs = np.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    targets = np.array([[1, np.nan, 0], [0, 1.0, 0]])
    rule = tune_rule(
        OofRows.of(probs, targets, ["eng", "afr"], ["a", "b", "c"]), Tuning("singlelabel")
    )
    preds = decode_probs("singlelabel", probs, rule, ["eng", "afr"])
    assert preds.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert rule.rule == "argmax"


def test_untuned_rule_is_a_half_for_events_and_labels() -> None:
    probs = np.array([[0.6, 0.4, 0.7], [0.6, 0.5, 0.4]])
    for kind, expected in (("multilabel", [[1, 0, 1], [1, 1, 0]]), ("intensity", [[1], [2]])):
        rule = untuned_rule(
            OofRows.of(probs, np.zeros((2, 3)), ["eng"] * 2, ["a>=1", "a>=2", "a>=3"]), kind
        )
        assert decode_probs(kind, probs, rule, ["eng"] * 2).tolist() == expected


def test_preds_are_integers_and_never_negative(noisy) -> None:
    probs, gold = noisy(50, 2)
    gold[:, 1] = np.nan
    found = tune_thresholds(OofRows.of(probs, gold, ["eng"] * 50, list("abcde")))
    preds = decode_probs("multilabel", probs, found, ["eng"] * 50)
    assert preds.dtype == np.int64
    assert set(np.unique(preds)) <= {0, 1}
    assert preds[:, 1].sum() == 0


def test_no_rows() -> None:
    assert decode_probs("multilabel", np.empty((0, 2)), half(["eng"]), []).shape == (0, 2)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(KitError, match=r"probs \(1, 3\) should be \(1, 2\)"):
        decode_probs("multilabel", np.zeros((1, 3)), half(["eng"]), ["eng"])
    with pytest.raises(KitError, match="kind 'ordinal' is unknown"):
        decode_probs("ordinal", np.zeros((1, 2)), half(["eng"]), ["eng"])
    with pytest.raises(KitError, match="kind 'ordinal' is unknown"):
        tune_rule(
            OofRows.of(np.zeros((1, 2)), np.zeros((1, 2)), ["eng"], ["a", "b"]), Tuning("ordinal")
        )
