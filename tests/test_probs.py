"""Probability files: every bit survives, damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.probs import Probs, mean_probs, read_probs, write_probs


def test_probabilities_keep_every_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((50, 3)) ** 40
    values[0] = [0.1 + 0.2, 1e-320, 1.0]
    ids = tuple(f'id "{row}", x' for row in range(50))
    probs = Probs(ids, ("eng",) * 50, ("joy", "anger>=1", "a b"), values)
    write_probs(tmp_path / "p.csv", probs)
    found = read_probs(tmp_path / "p.csv")
    assert found.values.tobytes() == values.tobytes()
    assert (found.ids, found.languages, found.target_names) == (
        probs.ids,
        probs.languages,
        probs.target_names,
    )
    part = found.take([3, 1])
    assert part.ids == (ids[3], ids[1])
    assert part.values.tolist() == values[[3, 1]].tolist()
    write_probs(tmp_path / "none.csv", probs.take([]))
    assert read_probs(tmp_path / "none.csv").values.shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a probability file"),
        ("a,b\n", "is not a probability file"),
        ("id,language,joy\n1,eng,0.5\n2,eng\n", "damaged"),
        ("id,language,joy\n1,eng,0.5x\n", "damaged"),
        ("id,language,joy\n1,eng,\n", "damaged"),
        ("id,language,joy\n1,eng,0.5\n2,eng,nan\n", r"p\.csv, line 3: a value is not a number"),
        ("id,language,joy\n1,eng,inf\n", r"p\.csv, line 2: a value is not a number"),
    ],
)
def test_a_damaged_probability_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(KitError, match=told):
        read_probs(tmp_path / "p.csv")
    with pytest.raises(KitError, match="no such file"):
        read_probs(tmp_path / "none.csv")


def member(*rows: list[float], ids: str = "") -> Probs:
    names = tuple("abc"[: len(rows[0])])
    return Probs(tuple(ids or "xyzuvw"[: len(rows)]), ("eng",) * len(rows), names, np.array(rows))


def test_mean_is_uniform_and_of_probs() -> None:
    mean = mean_probs([member([0.1, 0.9]), member([0.3, 0.7]), member([0.2, 0.5])])
    np.testing.assert_allclose(mean.values, [[0.2, 0.7]], rtol=1e-15)
    assert (mean.ids, mean.languages, mean.target_names) == (("x",), ("eng",), ("a", "b"))


def test_one_member_is_itself_and_stays_untouched() -> None:
    alone = member([0.25, 0.75])
    mean = mean_probs([alone])
    assert mean.values.tolist() == [[0.25, 0.75]]
    mean.values[0, 0] = 1
    assert alone.values[0, 0] == 0.25


def test_same_members_same_bytes() -> None:
    drawn = np.random.default_rng(0).random((7, 6, 3))
    first, second = (mean_probs([member(*m.tolist()) for m in drawn]).values for _ in "ab")
    assert first.tobytes() == second.tobytes()


def test_mean_is_of_probs_not_of_logits() -> None:
    # The mean of the logits would give .178.
    mean = mean_probs([member([p]) for p in (0.01, 0.01, 0.99)])
    assert mean.values[0, 0] == pytest.approx(1.01 / 3)


def test_nothing_or_other_rows_are_refused() -> None:
    with pytest.raises(KitError, match="no member given"):
        mean_probs([])
    with pytest.raises(KitError, match=r"different rows or targets \(3 x 1 and 2 x 1\)"):
        mean_probs([member([0.0], [0.0], [0.0]), member([0.0], [0.0])])
    with pytest.raises(KitError, match="different rows"):
        mean_probs([member([0.0]), member([0.0], ids="y")])
