"""The targets of a task, each with its rule; and the rules that bind their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, Mask
from semeval_kit.decision.rule import Thresholds, decode_probs
from semeval_kit.task.codec import decode_targets, settle_scopes
from semeval_kit.task.schema import Iff, Target
from semeval_kit.task.task import Task

Rules = Mapping[str, Thresholds]
"""Target -> its rule, for the targets that are predicted."""


def rules_to_json(rules: Rules) -> dict[str, Any]:
    """The rules as thresholds.json holds them: plain for one target, by name for several."""
    stored = {name: rule.to_json() for name, rule in rules.items()}
    return next(iter(stored.values())) if len(stored) == 1 else {"targets": stored}


def rules_from_json(task: Task, stored: Mapping[str, Any]) -> dict[str, Thresholds]:
    """The rules that `rules_to_json` wrote.

    Raises:
        KitError: a field is missing.
    """
    by_name = stored.get("targets") or {task.main_targets[0].name: stored}
    return {name: Thresholds.from_json(rule) for name, rule in by_name.items()}


def answers_of_probs(target: Target, probs: FloatArray) -> FloatArray:
    """What a rule is applied to: probs `(n, c)`, of numbers the numbers themselves."""
    if target.kind == "distribution":
        shares: FloatArray = probs / np.maximum(probs.sum(axis=1, keepdims=True), 1e-300)
        return shares
    return decode_targets(target, probs) if target.is_numeric else probs


def decide_labels(task: Task, rules: Rules, probs: FloatArray, languages: Sequence[str]) -> Any:
    """Decide the labels of all targets that are predicted.

    Args:
        task: its targets and the rules that bind their answers.
        rules: one per target.
        probs: `(n, C)`, of all targets.
        languages: `(n,)`.

    Returns:
        `(n, n_labels)` as `Examples.labels`: whole numbers, or real ones if a target has them;
        0 for a target that is only learnt.
    """
    slices, parts = task.target_slices, {}
    for target in task.main_targets:
        values = answers_of_probs(target, probs[:, slices[target.name]])
        rule, n_levels = rules[target.name], target.max_intensity
        parts[target.name] = decode_probs(target.kind, values, rule, languages, n_levels)
    for bond in task.rules.iff:
        _bind(task, bond, parts, probs, rules, languages)
    for target in task.main_targets:
        target_probs = probs[:, slices[target.name]]
        parts[target.name] = settle_scopes(target, target_probs, parts[target.name])
    numeric = any(target.is_numeric for target in task.main_targets)
    answers = np.zeros((len(probs), len(task.label_names)), np.float64 if numeric else np.int64)
    for name, part in parts.items():
        answers[:, task.label_slices[name]] = part
    return answers


def _bind(
    task: Task,
    bond: Iff,
    parts: dict[str, Any],
    probs: FloatArray,
    rules: Rules,
    languages: Sequence[str],
) -> None:
    """Change the rows of two targets' answers that contradict each other, in place.

    Such a row takes what is likelier of both sides: that the target has its label and the other
    has its own, or that neither has. Probs are seen from their thresholds.
    """
    targets = {target.name: target for target in task.targets}
    sides = [
        _Side(targets[name], label, probs[:, task.target_slices[name]], parts[name])
        for name, label in ((bond.target, bond.label), (bond.other, bond.other_label))
    ]
    for side in sides:
        side.lean(rules[side.target.name], languages)
    first, second = sides
    wrong = first.has != second.has
    both = np.log(first.chance) + np.log(second.chance)
    neither = np.log1p(-first.chance) + np.log1p(-second.chance)
    for side in sides:
        side.set(wrong & (both >= neither), True)
        side.set(wrong & (both < neither), False)


class _Side:
    """One of two targets that are bound: whether rows have the label, and how likely that is."""

    def __init__(self, target: Target, label: str, probs: FloatArray, answers: Any) -> None:
        self.target, self.probs, self.answers = target, probs, answers
        # The word for "no label at all" is none of the columns.
        self.column = target.labels.index(label) if label in target.labels else -1

    @property
    def has(self) -> Mask:
        """`(n,)`: which rows have the label, or none at all."""
        if self.column < 0:
            return np.asarray(~(self.answers > 0).any(axis=1))
        return np.asarray(self.answers[:, self.column] > 0)

    def lean(self, rule: Thresholds, languages: Sequence[str]) -> None:
        """See probs from their thresholds: at the threshold the chance is a half."""
        probs = np.clip(self.probs, 1e-6, 1 - 1e-6)
        if self.target.kind == "multilabel":
            cuts = np.clip(np.nan_to_num(rule.rows(languages), nan=1.0), 1e-6, 1 - 1e-6)
            odds = probs / (1 - probs) * (1 - cuts) / cuts
            probs = odds / (1 + odds)
        self.probs = probs
        if self.column < 0:
            self.chance = np.clip(np.prod(1 - probs, axis=1), 1e-6, 1 - 1e-6)
        else:
            self.chance = probs[:, self.column]

    def set(self, rows: Mask, has: bool) -> None:
        """Give the rows the label, or take it away and put the likeliest other in its place."""
        numbers = np.flatnonzero(rows & (self.has != has))
        if not has and (self.column < 0 or self.target.kind == "singlelabel"):
            others = self.probs[numbers].copy()
            if self.column >= 0:
                others[:, self.column] = -np.inf
            self.answers[numbers] = 0
            self.answers[numbers, others.argmax(axis=1)] = 1
        elif self.column < 0:
            self.answers[numbers] = 0
        else:
            if self.target.kind == "singlelabel":
                self.answers[numbers] = 0
            self.answers[numbers, self.column] = int(has)
