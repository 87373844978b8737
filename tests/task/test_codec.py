"""The label codec."""

from __future__ import annotations

import numpy as np

from semeval_kit.task.codec import encode_labels, target_names
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
