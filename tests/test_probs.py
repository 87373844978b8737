"""Probability files: every bit survives, damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.probs import Probs, read_probs, write_probs


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
    ],
)
def test_a_damaged_probability_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(KitError, match=told):
        read_probs(tmp_path / "p.csv")
    with pytest.raises(KitError, match="no such file"):
        read_probs(tmp_path / "none.csv")
