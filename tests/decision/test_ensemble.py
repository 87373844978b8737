from __future__ import annotations

import numpy as np
import pytest

from semeval_kit.decision.ensemble import mean_probs
from semeval_kit.errors import KitError


def test_mean_is_uniform_and_of_probs() -> None:
    members = [np.array([[0.1, 0.9]]), np.array([[0.3, 0.7]]), np.array([[0.2, 0.5]])]
    np.testing.assert_allclose(mean_probs(members), [[0.2, 0.7]], rtol=1e-15)


def test_one_member_is_itself_and_stays_untouched() -> None:
    member = np.array([[0.25, 0.75]])
    mean = mean_probs([member])
    assert mean.tolist() == [[0.25, 0.75]]
    mean[0, 0] = 1
    assert member[0, 0] == 0.25


def test_same_members_same_bytes() -> None:
    members = list(np.random.default_rng(0).random((7, 50, 3)))
    assert mean_probs(members).tobytes() == mean_probs([m.copy() for m in members]).tobytes()


def test_mean_is_of_probs_not_of_logits() -> None:
    # The mean of the logits would give .178.
    assert mean_probs([np.array([[p]]) for p in (0.01, 0.01, 0.99)])[0, 0] == pytest.approx(
        1.01 / 3
    )


def test_nothing_or_different_shapes_are_refused() -> None:
    with pytest.raises(KitError, match="no member given"):
        mean_probs([])
    with pytest.raises(KitError, match=r"different shapes \[\(2, 1\), \(3, 1\)\]"):
        mean_probs([np.zeros((3, 1)), np.zeros((2, 1))])
