"""The demo data in data/: counts, derived files, and that no two texts are alike."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "data"
LABELS = ["anger", "fear", "joy", "sadness", "surprise"]
SPLITS = ("train", "dev", "test")
Rows = list[dict[str, str]]


def read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def split(track: str, name: str) -> Rows:
    return read(DATA / f"track_{track}" / name / "eng.csv")


def gold(track: str) -> Rows:
    return read(DATA / "gold" / f"track_{track}" / "eng.csv")


def labelled(track: str) -> dict[str, list[int]]:
    """Text -> labels, over all splits."""
    answers = {row["id"]: row for row in gold(track)}
    rows = [(row, row) for name in ("train", "dev") for row in split(track, name)]
    rows += [(row, answers[row["id"]]) for row in split(track, "test")]
    return {row["text"]: [int(answer[label]) for label in LABELS] for row, answer in rows}


def test_there_are_enough_texts() -> None:
    sizes = {name: len(split("a", name)) for name in SPLITS}
    assert sum(sizes.values()) >= 900
    assert sizes["train"] >= 600
    assert sizes["dev"] >= 100
    assert sizes["test"] >= 200


@pytest.mark.parametrize("track", ["a", "b"])
def test_the_columns_are_the_organisers(track: str) -> None:
    for name in SPLITS:
        assert list(split(track, name)[0]) == ["id", "text", *LABELS]
    assert list(gold(track)[0]) == ["id", *LABELS]


def test_the_binary_files_are_the_intensities_above_zero() -> None:
    for name in SPLITS:
        binary, levels = split("a", name), split("b", name)
        assert [row["text"] for row in binary] == [row["text"] for row in levels]
        if name == "test":
            binary, levels = gold("a"), gold("b")
        for a, b in zip(binary, levels, strict=True):
            assert a["id"].split("_")[-1] == b["id"].split("_")[-1]
            assert [int(a[label]) for label in LABELS] == [int(int(b[x]) > 0) for x in LABELS]


def test_intensities_go_from_0_to_3() -> None:
    for column in zip(*labelled("b").values(), strict=True):
        assert set(column) == {0, 1, 2, 3}


@pytest.mark.parametrize("track", ["a", "b"])
def test_labels_of_the_test_split_are_blank_and_lie_apart(track: str) -> None:
    rows = split(track, "test")
    assert all(row[label] == "" for row in rows for label in LABELS)
    assert [row["id"] for row in rows] == [row["id"] for row in gold(track)]


@pytest.mark.parametrize("track", ["a", "b"])
def test_ids_are_unique(track: str) -> None:
    ids = [row["id"] for name in SPLITS for row in split(track, name)]
    assert len(ids) == len(set(ids))


def test_neutral_and_mixed_texts_are_there() -> None:
    labels = list(labelled("a").values())
    assert sum(not any(row) for row in labels) >= 0.08 * len(labels)
    assert sum(sum(row) > 1 for row in labels) >= 0.2 * len(labels)
    for column in zip(*labels, strict=True):
        assert sum(column) >= 0.1 * len(labels)


def test_no_text_is_twice_or_nearly_so() -> None:
    """By the words that two texts share, over all splits (Jaccard below 0.6)."""
    texts = [row["text"] for name in SPLITS for row in split("a", name)]
    assert len({" ".join(text.casefold().split()) for text in texts}) == len(texts)
    words = [frozenset(re.findall(r"\w+", text.casefold())) for text in texts]
    holders: defaultdict[str, list[int]] = defaultdict(list)
    alike = []
    for row, own in enumerate(words):
        shared: defaultdict[int, int] = defaultdict(int)
        for word in own:
            for other in holders[word]:
                shared[other] += 1
            holders[word].append(row)
        for other, count in shared.items():
            if count / len(own | words[other]) >= 0.6:
                alike.append((texts[row], texts[other]))
    assert alike == []


def test_lengths_vary() -> None:
    lengths = sorted(len(text.split()) for text in labelled("a"))
    assert lengths[len(lengths) // 10] <= 12
    assert lengths[-len(lengths) // 10] >= 20


def test_the_readme_counts_what_is_there() -> None:
    text = (DATA / "README.md").read_text(encoding="utf-8")
    sizes = [len(split("a", name)) for name in SPLITS]
    assert f"{sum(sizes)} short English texts" in text
    assert " / ".join(map(str, sizes)) in text
    labels = list(labelled("a").values())
    assert f"{sum(not any(row) for row in labels) / len(labels):.0%} of the rows" in text
    assert f"{sum(sum(row) > 1 for row in labels) / len(labels):.0%} have two or more" in text
