from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from semeval_kit.decision.rule import IntensityRule, Thresholds
from semeval_kit.errors import KitError
from semeval_kit.run.members import RunModels, check_language, join_inputs, split_inputs
from semeval_kit.task.task import Task


class FakeModel:
    def __init__(self, names: tuple[str, ...], value: float) -> None:
        self.target_names, self.value = names, value

    def probs(self, texts: list[str]) -> np.ndarray:
        return np.full((len(texts), len(self.target_names)), self.value)


def reads(**columns: str) -> SimpleNamespace:
    given = {"pair": "", "pair_separator": "", "context": "", **columns}
    return SimpleNamespace(**given, has_pairs=bool(given["pair"] or given["pair_separator"]))


def make(kind: str, names: tuple[str, ...], rule: Thresholds) -> RunModels:
    labels = tuple(dict.fromkeys(name.partition(">=")[0] for name in names))
    layout = "name" if kind == "singlelabel" else "columns"
    task = Task(
        name="made",
        title="Made up",
        kind=kind,
        max_intensity=2,
        train_languages=("eng",),
        predict_languages=("eng",),
        labels={"default": labels},
        data={"files": {"train": ["train.csv"], "test": ["test.csv"]}, "label_layout": layout},
        submission={"label_layout": layout},
        scoring={"metrics": ["accuracy"], "languages": ["eng"]},
    )
    models: Any = (FakeModel(names, 0.2), FakeModel(names, 0.6))
    run: Any = SimpleNamespace(task=task)
    return RunModels(run, models, {"main": rule}, "the mean of 2 folds")


def make_rule(names: tuple[str, ...], intensity: IntensityRule | None = None) -> Thresholds:
    n = len(names)
    counts = np.zeros(n, dtype=np.int64)
    joint, eng = np.full(n, 0.3), np.full(n, 0.5)
    eng[0] = np.nan
    return Thresholds(
        names, "shrunk", 0.3, joint, {"eng": eng}, counts, {"eng": counts}, intensity=intensity
    )


def test_each_language_has_its_thresholds_and_no_language_the_joint_ones():
    models = make("multilabel", ("anger", "joy"), make_rule(("anger", "joy")))
    probs = models.probs(["a", "b", "c"])
    np.testing.assert_allclose(probs, np.full((3, 2), 0.4))
    assert models.decide(probs, "eng").tolist() == [[0, 0]] * 3
    assert models.decide(probs, "").tolist() == [[1, 1]] * 3
    np.testing.assert_array_equal(models.cuts("eng"), [np.nan, 0.5])
    np.testing.assert_array_equal(models.cuts(""), [0.3, 0.3])


def test_a_single_label_is_the_highest_whatever_thresholds_there_are():
    names = ("anger", "joy", "fear")
    for rule in (Thresholds.even(names, 0.0, "argmax"), make_rule(names)):
        models = make("singlelabel", names, rule)
        probs = np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
        assert models.decide(probs, "").tolist() == [[0, 1, 0], [0, 0, 1]]
        assert np.isnan(models.cuts("eng")).all()


@pytest.mark.parametrize(
    ("method", "expected"), [("expected_value", [[2]]), ("running_and", [[1]])]
)
def test_levels_follow_the_rule_that_was_tuned(method: str, expected: list[list[int]]):
    names = ("anger>=1", "anger>=2")
    cuts = np.array([[0.4, 0.9]])
    rule = make_rule(names, IntensityRule(method, ("anger",), 2, cuts, {"eng": cuts}))
    models = make("intensity", names, rule)
    assert models.decide(np.array([[0.8, 0.2]]), "").tolist() == expected
    by_value = method == "expected_value"
    np.testing.assert_array_equal(models.cuts(""), [np.nan] * 2 if by_value else [0.3] * 2)


def test_the_language_is_the_run_s_if_it_has_one():
    said: list[str] = []
    one: Any = SimpleNamespace(languages=("eng",))
    assert check_language(one, None, said.append) == "eng"
    assert said == []
    two: Any = SimpleNamespace(languages=("eng", "deu"))
    assert check_language(two, None, said.append) == ""
    assert said == ["no --language given, so thresholds over all of eng deu decide"]


def test_pairs_and_contexts_stand_behind_the_text_with_a_tab_between():
    def run_of(**columns: str) -> Any:
        return SimpleNamespace(task=SimpleNamespace(data=reads(**columns)))

    line = ["a\tb", "c d\te"]
    assert split_inputs(run_of(), line) == {"texts": line}
    pairs = {"texts": ["a", "c d"], "pairs": ["b", "e"]}
    for columns in ({"pair": "two"}, {"pair_separator": "|"}):
        assert split_inputs(run_of(**columns), line) == pairs
    both = {"pair": "two", "context": "ctx"}
    parts = {"texts": ["x"], "pairs": ["y"], "contexts": ["z"]}
    assert split_inputs(run_of(**both), ["x\ty\tz"]) == parts
    examples: Any = SimpleNamespace(texts=("x\tx",), pairs=("y",), contexts=("z",))
    assert join_inputs(examples) == ["x x\ty\tz"]
    with pytest.raises(KitError, match="'alone': this task reads texts and pairs"):
        split_inputs(run_of(pair="two"), ["alone"])
