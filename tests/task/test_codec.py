"""The label codec."""

from __future__ import annotations

import numpy as np
import pytest

from semeval_kit.task.codec import (
    decode_targets,
    encode_labels,
    encode_target,
    read_value,
    settle_scopes,
    spell_labels,
    split_names,
    target_names,
)
from semeval_kit.task.schema import Target
from semeval_kit.task.task import load_task


def test_multilabel_targets_are_the_labels():
    task = load_task("semeval2025-task11-a")
    labels = np.array([[1, np.nan, 0, 0, 1, 0]])
    assert target_names(task) == task.all_labels
    np.testing.assert_array_equal(encode_labels(task, labels), labels)


def test_intensity_targets_are_cumulative_and_label_major():
    task = load_task("semeval2025-task11-b")
    names = target_names(task)
    assert names[:4] == ("anger>=1", "anger>=2", "anger>=3", "disgust>=1")
    assert len(names) == 18
    targets = encode_labels(task, np.array([[0, 1, 2, 3, np.nan, 0]], dtype=float))
    nan = np.nan
    expected = [[0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, nan, nan, nan, 0, 0, 0]]
    np.testing.assert_array_equal(targets, expected)


def test_numbers_are_shares_of_their_range_and_back():
    target = Target(kind="regression", labels=("score",), range=(1, 5))
    numbers = np.array([[1.0], [2.0], [5.0], [np.nan]])
    shares = encode_target(target, numbers)
    np.testing.assert_array_equal(shares, [[0], [0.25], [1], [np.nan]])
    np.testing.assert_array_equal(decode_targets(target, shares), numbers)
    outside = np.array([[-0.5], [1.25]])
    np.testing.assert_array_equal(decode_targets(target, outside), [[1], [5]])
    free = target.model_copy(update={"bounded": False})
    np.testing.assert_array_equal(decode_targets(free, outside), [[-1], [6]])


def test_events_of_an_intensity_are_summed_back():
    target = Target(kind="intensity", labels=("anger", "joy"), max_intensity=3)
    levels = np.array([[0.0, 3.0], [2.0, 1.0]])
    np.testing.assert_array_equal(decode_targets(target, encode_target(target, levels)), levels)


def test_targets_stand_side_by_side(write_task, task_text):
    table = (
        '\n[targets.level]\nkind = "intensity"\nauxiliary = true\nmax_intensity = 2\n'
        '[targets.length]\nkind = "regression"\nrange = [0, 10]\nauxiliary = true\n'
    )
    task = write_task(text=task_text + table)
    assert target_names(task) == (
        "anger",
        "fear",
        "joy",
        *(f"level:{label}>={n}" for label in ("anger", "fear", "joy") for n in (1, 2)),
        "length",
    )
    assert task.target_slices == {
        "main": slice(0, 3),
        "level": slice(3, 9),
        "length": slice(9, 10),
    }
    labels = np.array([[1, 0, 1, 2, 0, 1, 5]], dtype=float)
    encoded = encode_labels(task, labels)
    np.testing.assert_array_equal(encoded, [[1, 0, 1, 1, 1, 0, 0, 1, 0, 0.5]])
    assert [target.name for target in task.main_targets] == ["main"]
    alone = task.only("level")
    assert (alone.kind, alone.max_intensity, alone.all_labels) == (
        "intensity",
        2,
        ("anger", "fear", "joy"),
    )
    assert alone.targets[0].label_names == ("anger", "fear", "joy")
    np.testing.assert_array_equal(
        encode_labels(alone, labels[:, task.label_slices["level"]]), encoded[:, 3:9]
    )
    narrow = task.narrowed(["deu"], ["deu"])
    assert narrow.label_slices == {"main": slice(0, 2), "level": slice(2, 4), "length": slice(4, 5)}


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("multilabel", " 1 ", 1.0),
        ("multilabel", "1.0", 1.0),
        ("multilabel", "2", None),
        ("intensity", "3", 3.0),
        ("intensity", "-1", None),
        ("regression", "-1.5e0", -1.5),
        ("regression", "2.01", None),
        ("regression", "1_0", None),
        ("regression", "inf", None),
        ("distribution", ".5", 0.5),
        ("distribution", "1.1", None),
    ],
)
def test_cells_are_read_by_kind(kind, cell, value):
    target = Target(kind=kind, labels=("a", "b"), range=(-2, 2))
    assert read_value(target, cell) == value


def test_named_labels_are_read_and_spelled_alike():
    scoped = Target(
        kind="multilabel",
        labels=("group", "individual", "l", "nb", "lgbtqia+"),
        layout="scoped",
        scopes=("group", "individual"),
        joiner=",",
        none_word="none",
    )
    for cell, names in (
        ("group_lgbtqia+", ["group", "lgbtqia+"]),
        ("individual_l,nb", ["individual", "l", "nb"]),
        ("none", []),
    ):
        assert split_names(scoped, cell) == names
        assert spell_labels(scoped, [float(label in names) for label in scoped.labels]) == (cell,)
    both = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
    probs = np.array([[0.6, 0.7, 0.1, 0.3, 0.2], [0.4, 0.1, 0, 0.6, 0], [0.1] * 5])
    assert settle_scopes(scoped, probs, both).tolist() == [
        [0, 1, 0, 1, 0],
        [1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    joined = Target(kind="multilabel", labels=("a", "b"), layout="joined", values={"A": "a"})
    assert settle_scopes(joined, probs, both) is both
    assert split_names(joined, "A/b") == ["a", "b"]
    assert spell_labels(joined, [1, 1]) == ("a/b",)
    numbers = Target(kind="regression", labels=("x", "y"), range=(0, 9))
    assert spell_labels(numbers, [1.0, 2.345], "{:.2f}") == ("1.00", "2.35")
    assert spell_labels(Target(kind="intensity", labels=("x", "y")), [0.0, 2.0]) == ("0", "2")
