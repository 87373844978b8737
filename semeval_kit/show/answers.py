"""What a run answered: gold, probs and decided labels of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from semeval_kit.data.examples import Examples, find_file, read_examples
from semeval_kit.data.reference import Reference, find_references, read_reference
from semeval_kit.data.texts import number_groups
from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, read_oof_answers
from semeval_kit.decision.rule import Thresholds
from semeval_kit.decision.targets import answers_of_probs, decide_labels, rules_from_json
from semeval_kit.decision.tuning import untuned_rule
from semeval_kit.errors import KitError
from semeval_kit.files import read_json
from semeval_kit.plurals import count_noun
from semeval_kit.probs import Probs
from semeval_kit.run.directory import Run
from semeval_kit.task.codec import encode_labels
from semeval_kit.task.task import Task

ANSWERED = ("oof", "dev", "test")


@dataclass(frozen=True, eq=False)
class Answers:
    """Rows that a run answered and whose gold labels are known.

    Attributes:
        split: "oof" (out-of-fold training rows), "dev" or "test".
        examples: texts and gold labels `(n, L)`, NaN for not annotated.
        probs: of the same rows, `(n, C)`: from one model each for "oof", else the mean over folds.
        half: preds `(n, L)` at threshold 0.5 (argmax for single-label tasks).
        tuned: preds `(n, L)` by tuned thresholds; for "oof" cross-fitted, so that no row is judged
            by a threshold that it helped to choose, as `tune` kept them.
    """

    split: str
    examples: Examples
    probs: Probs
    half: IntArray
    tuned: IntArray

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """The same number for copies of a text, `(n,)`."""
        return tuple(number_groups(self.examples).tolist())

    @property
    def gold(self) -> FloatArray:
        """Gold labels `(n, L)`."""
        return self.examples.labels

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Language and id of every row."""
        return self.examples.keys

    def preds(self, rule: str) -> IntArray:
        """Preds `(n, L)` of the rule "half" or "tuned"."""
        return self.half if rule == "half" else self.tuned


AnswersBySplit = Mapping[str, Answers | None]


def read_answers(run: Run, split: str) -> Answers | None:
    """Read what a run answered on a split; None where there are no answers or no gold labels.

    Raises:
        KitError: a stage has not run, or the data folder has changed since.
    """
    if split not in ANSWERED:
        raise KitError(f"split '{split}' is unknown. Choose one of {', '.join(ANSWERED)}.")
    if split == "oof":
        return _read_oof(run)
    languages = [code for code in run.languages if run.probs_file(split, code).is_file()]
    if not languages or not run.thresholds_file.is_file():
        return None
    parts = [read_gold(run, split, language) for language in languages]
    if any(part is None for part in parts):
        return None
    examples = Examples.concat([part for part in parts if part is not None])
    probs = Probs.concat([run.read_probs(split, language) for language in languages])
    examples = _align(run, examples, probs)
    rules = rules_from_json(run.task, read_json(run.thresholds_file))
    tuned = decide_labels(run.task, rules, probs.values, probs.languages)
    half = decide_labels(
        run.task, _untuned_rules(run, probs, examples), probs.values, probs.languages
    )
    return _narrow(run, Answers(split, examples, probs, half, tuned))


def shown_task(run: Run) -> Task:
    """The task of the pages: of several targets the first that is predicted."""
    task = run.task
    return task if len(task.targets) == 1 else task.only(task.main_targets[0].name)


def read_rule(run: Run) -> Thresholds:
    """How the answers of that target are decided.

    Raises:
        KitError: `tune` has not run.
    """
    rules = rules_from_json(run.task, read_json(run.thresholds_file))
    return rules[run.task.main_targets[0].name]


def narrow_examples(run: Run, examples: Examples) -> Examples:
    """The examples with the labels of that target alone."""
    task = run.task
    if len(task.targets) == 1:
        return examples
    labels = examples.labels[:, task.label_slices[task.main_targets[0].name]]
    return replace(examples, labels=labels, label_names=task.main_targets[0].labels)


def _read_oof(run: Run) -> Answers:
    probs = run.read_oof()
    examples = _align(run, run.read_train(), probs)
    if not run.estimate_file.is_file():
        raise KitError(f"{run.path}: no estimate yet. Run `semeval-kit tune {run.path}`.")
    sha256 = read_json(run.estimate_file).get("answers_sha256", "")
    kept = read_oof_answers(run.oof_answers_file, sha256)
    if (kept.languages, kept.ids) != (probs.languages, probs.ids):
        raise KitError(
            f"{run.oof_answers_file}: holds other rows than the folds' oof.csv. "
            f"Run `semeval-kit tune {run.path}`."
        )
    width = len(run.task.label_names)
    half, tuned = (np.zeros((len(examples), width), v.dtype) for v in (kept.half, kept.tuned))
    columns = [run.task.label_names.index(label) for label in kept.labels]
    half[:, columns], tuned[:, columns] = kept.half, kept.tuned
    return _narrow(run, Answers("oof", examples, probs, half, tuned))


def read_gold(run: Run, split: str, language: str) -> Examples | None:
    """Examples of a split with their labels; None where the labels are blank or not known."""
    data = run.data
    if split == "dev":
        path = find_file(run.task, data, "dev", language)
        reference = read_reference(run.task, path, language, split) if path else None
    else:
        place = run.find_gold()
        reference = find_references(run.task, place).get(language) if place else None
    if reference is None or reference.gold is None:
        return None
    examples = read_examples(run.task, data, split, [language], labelled=False)
    return _with_labels(run, examples, reference)


def _with_labels(run: Run, examples: Examples, reference: Reference) -> Examples:
    """The rows with the labels of a reference; by id, or by position where the task has no ids."""
    assert reference.gold is not None
    by_position = not run.task.data.id_column
    row_of = {id_: row for row, id_ in enumerate(reference.ids)}
    rows = range(len(examples)) if by_position else [row_of.get(i, -1) for i in examples.ids]
    if len(reference.ids) != len(examples) or min(rows) < 0:
        raise KitError(
            f"{reference.place}: its {count_noun(len(reference.ids), 'id')} are not those of the "
            f"{count_noun(len(examples), 'row')}. Give the gold labels of these rows."
        )
    task, names = run.task, run.task.label_names
    main = dict(zip(task.main_targets[0].labels, task.main_targets[0].label_names, strict=True))
    columns = [names.index(main.get(label, label)) for label in reference.labels]
    labels = np.full((len(examples), len(names)), np.nan)
    labels[:, columns] = reference.gold[list(rows)]
    return replace(examples, labels=labels)


def _untuned_rules(run: Run, probs: Probs, examples: Examples) -> dict[str, Thresholds]:
    targets = encode_labels(run.task, examples.labels)
    rules = {}
    for target in run.task.main_targets:
        columns = run.task.target_slices[target.name]
        values = answers_of_probs(target, probs.values[:, columns])
        names = probs.target_names[columns]
        rows = OofRows.of(values, targets[:, columns], probs.languages, names)
        rules[target.name] = untuned_rule(rows, target.kind)
    return rules


def _narrow(run: Run, answers: Answers) -> Answers:
    task = run.task
    if len(task.targets) == 1:
        return answers
    name = task.main_targets[0].name
    labels, columns = task.label_slices[name], task.target_slices[name]
    probs = replace(
        answers.probs,
        target_names=answers.probs.target_names[columns],
        values=answers.probs.values[:, columns],
    )
    examples = narrow_examples(run, answers.examples)
    half, tuned = answers.half[:, labels], answers.tuned[:, labels]
    return replace(answers, examples=examples, probs=probs, half=half, tuned=tuned)


def _align(run: Run, examples: Examples, probs: Probs) -> Examples:
    """The examples in the order of the probs."""
    row_of = {key: row for row, key in enumerate(examples.keys)}
    missing = [key for key in probs.keys if key not in row_of]
    if missing:
        raise KitError(
            f"{run.settings['data']}: lacks {count_noun(len(missing), 'row')} of run {run.name} "
            f"(first: {missing[0][1]}). Restore the data folder that the run was made with."
        )
    return examples.take([row_of[key] for key in probs.keys])
