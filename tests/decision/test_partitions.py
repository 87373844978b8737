from __future__ import annotations

import numpy as np

from semeval_kit.decision.partitions import split_units


def test_groups_stay_whole_and_parts_are_even() -> None:
    units = np.arange(1000) // 2
    parts = split_units(units, ["eng"] * 1000, 5, np.random.default_rng(0))
    assert (parts[::2] == parts[1::2]).all()
    assert np.bincount(parts).tolist() == [200] * 5


def test_every_part_holds_its_share_of_every_language() -> None:
    languages = ["eng", "deu", "deu", "swe"] * 50
    parts = split_units(np.arange(200), languages, 5, np.random.default_rng(1))
    for language, rows in (("eng", 50), ("deu", 100), ("swe", 50)):
        own = parts[np.array(languages) == language]
        assert np.abs(np.bincount(own, minlength=5) - rows / 5).max() <= 1


def test_partitions_differ_by_seed_only() -> None:
    units = np.arange(40)
    found = [
        split_units(units, ["eng"] * 40, 4, np.random.default_rng(seed)).tolist()
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]
