"""The validator: what the official scorer would reject, and what else is surely a mistake."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import find_file, read_file
from semeval_kit.data.reference import Place, Reference, find_references
from semeval_kit.plurals import count_noun
from semeval_kit.submission import rules
from semeval_kit.submission.archive import (
    Contents,
    is_shared,
    join_references,
    match_member,
    read_submission,
)
from semeval_kit.submission.reading import Predictions, read_predictions
from semeval_kit.submission.rules import Rejected
from semeval_kit.task.metric_facts import NUMERIC
from semeval_kit.task.task import Task, list_tasks, load_task, nearest

_MOST_NAMED = 3
# The share of wrong lines up to which a file is taken for one of the task, with faults.
_FEW_WRONG = 0.1
_FIRST_LINES = 500  # of a file, which tell whose it is

STRICTER = {
    "extra_cells": "it ignores cells beyond the header; the checker of 2025 crashes on them",
    "id_spaces": "it strips ids; the checker of 2025 does not know the id then",
    "value": "it strips every kind of space, a no-break space too; few other readers do",
    "nul": "it may never look at the cell; a NUL byte means a damaged file",
    "open_quote": "it takes what follows the quote as one cell; the next row may be lost",
    "other_file": "it ignores the file, so that a misnamed language silently scores 0",
    "nested_zip": "it ignores a zip in the zip, so that its languages silently score 0",
    "two_files": "it takes the last of them, whichever that is",
    "duplicate_member": "unpacking keeps one of them, whichever that is",
    "too_many_entries": "a submission holds one file per language",
    "too_large": "a submission holds one small file per language",
    "ratio": "no prediction file packs so well",
    "overlap": "sound zips have no overlapping members",
    "damaged": "unpackers differ in what they make of it",
    "symlink": "a link may point anywhere",
    "encrypted": "the site has no password",
    "compression": "the site may not unpack it",
    "backslash": "unpackers differ in what they make of it",
    "absolute": "unpackers differ in what they make of it",
    "parent": "unpackers differ in what they make of it",
    "bad_name": "unpackers differ in what they make of it",
    "folder_named_so": "it takes a file of the same language that comes later",
    "folder": "the evaluation of 2025 wanted the folder",
}
"""Rules that refuse what the scoring programs of 2026 accept, or do not look at: rule -> why."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: the rule it breaks, and what, where and what to do."""

    rule: str
    message: str
    stricter: bool = False
    """The official scorer would not reject this."""

    def __str__(self) -> str:
        if not self.stricter:
            return self.message
        return f"{self.message} (stricter than the official scorer: {STRICTER[self.rule]})"


@dataclass
class Validation:
    """What is wrong with a submission (errors), odd (warnings), and what it holds (infos)."""

    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    missing_note: str = ""
    """The one among the warnings that is about languages without a file, if they count as 0."""
    unchecked: list[str] = field(default_factory=list)
    """Prediction files whose ids were compared with nothing, for want of a test file."""

    def refuse(self, task: Task, rule: str, message: str, official: str | None = None) -> None:
        """Note a finding; `official` is what the official scorer says, None if it accepts."""
        stricter = task.scoring.rules != "generic" and official is None and rule in STRICTER
        self.findings.append(Finding(rule, message, stricter))

    @property
    def errors(self) -> list[str]:
        """The findings as sentences."""
        return [str(finding) for finding in self.findings]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """The whole in one line; "valid" alone only where ids were compared."""
        if not self.ok:
            return f"not valid: {count_noun(len(self.findings), 'error')}"
        if self.unchecked:
            of = f"of {', '.join(self.unchecked[:_MOST_NAMED])}"
            more = len(self.unchecked) - _MOST_NAMED
            of += f" and {more} more" if more > 0 else ""
            return f"valid as far as could be checked: ids {of} not compared, give --data"
        return "valid"


def validate_submission(
    task: Task,
    submission_path: str | Path,
    reference: Place | None = None,
    *,
    data: str | Path | None = None,
) -> Validation:
    """Check a zip or folder against the organisers' ids and header.

    `reference` is the folder of the test files or gold labels, a file for one language, or
    references; without it ids are not checked. `data` is the data folder, whose train split, if
    there, gives the shares of positives that predictions are compared with.

    Raises:
        KitError: the submission or the reference cannot be read.
    """
    return validate_contents(task, read_submission(submission_path), reference, data=data)


def validate_contents(
    task: Task,
    contents: Contents,
    reference: Place | None = None,
    *,
    data: str | Path | None = None,
) -> Validation:
    """Check what a zip or folder holds; see `validate_submission`."""
    validation = Validation()
    _judge_archive(task, contents, validation)
    strange = not any(_fits_name(task, path) for path in contents.files)
    fitting = _find_fitting_tasks(task, contents) if strange else []
    members = _find_members(task, contents, validation, rename=not fitting)
    languages = {code for _, code in members if code is not None} or set(task.scoring.languages)
    references = {} if reference is None else find_references(task, reference, only=languages)
    for (number, language), member in members.items():
        layout = task.submission.layouts[number]
        if not layout.filled:
            validation.infos.append(f"{member}: is there; not read, since it is made elsewhere")
            continue
        expected = references.get(language or "")
        if language is None and references:
            expected = join_references([references[code] for code in sorted(references)])
        content = contents.files[member]
        predictions = read_predictions(task, content, member, language or "", expected, layout)
        _judge_member(task, content, predictions, expected, validation)
        if not predictions.problems.count:
            shown = ", ".join(name for block in predictions.blocks for name in block.target.labels)
            validation.infos.append(
                f"{member}: {count_noun(len(predictions.preds), 'row')}, labels {shown}"
            )
            shares = _train_shares(task, data, language or "", predictions.labels)
            validation.warnings += [
                f"{member}: {text}" for text in _odd_columns(predictions, shares)
            ]
    _note_missing(task, members, contents, validation)
    if not validation.ok and not strange:
        fitting = _find_fitting_tasks(task, contents)
    if fitting:
        message = (
            f"{contents.place}: names, columns and labels are those of {' or '.join(fitting)}, not "
            f"of {task.name}. If it is meant for that, check it with --task {fitting[0]}."
        )
        validation.findings.insert(0, Finding("other_task", message))
    return validation


def _judge_archive(task: Task, contents: Contents, validation: Validation) -> None:
    """Note what is wrong with a zip or folder, whatever its files say."""
    for hazard in contents.hazards:
        validation.refuse(task, hazard.rule, hazard.message)
    if contents.passed_over:
        validation.warnings.append(
            f"{len(contents.passed_over)} remains of macOS (first: '{contents.passed_over[0]}'): "
            "scorers skip them"
        )
    name, wanted = Path(contents.place).name, task.submission.zip_name
    if contents.is_zip and wanted and name != wanted:
        validation.warnings.append(f"the zip is named '{name}'; the site expects '{wanted}'")
    # A folder named like a prediction file stops the official scorer, if it takes it for one.
    folders = contents.all_folders()
    try:
        taken = rules.find_members_2026([*contents.files, *folders])
    except Rejected:
        taken = {}
    for folder in folders:
        match = match_member(task, folder)
        if match:
            passed_over = match[1] in task.scoring.languages and taken.get(match[1]) != folder
            message = f"'{folder}' is a folder named like a prediction file. Rename it."
            official = None if passed_over else "IsADirectoryError"
            validation.refuse(task, "folder_named_so", message, official)


def _judge_member(
    task: Task,
    data: bytes,
    predictions: Predictions,
    reference: Reference | None,
    validation: Validation,
) -> None:
    """Note what is wrong with a member, and whether the scoring program of 2026 says so too."""
    problems, member, official = predictions.problems, predictions.problems.place, None
    if task.scoring.rules != "generic" and reference is not None:
        try:
            rules.read_2026(data, PurePosixPath(member).name, reference, task.max_value)
        except Rejected as rejection:
            official = str(rejection)
    for rule, message in zip(problems.rules, problems.lines, strict=True):
        validation.refuse(task, rule, message, official)
    if problems.n_hidden:
        more = f"{member}: and {count_noun(problems.n_hidden, 'more problem')} of this file"
        validation.warnings.append(more)
    if official and not problems.count:
        validation.refuse(task, "official", f"{member}: rejected: {official}", official)
    validation.warnings += [f"{member}: {note}" for note in predictions.notes]
    if reference is None:
        validation.unchecked.append(member)
        validation.warnings.append(f"{member}: ids were not checked (no test file at hand)")


def _fits_name(task: Task, path: str) -> bool:
    """Whether a file has the name of a prediction file of a language that the task has."""
    match = match_member(task, path)
    return match is not None and match[1] in (None, *task.scoring.languages)


def _find_fitting_tasks(task: Task, contents: Contents) -> list[str]:
    """Tasks that come with the kit and have all files of a submission, which this one has not."""
    if not contents.files or _fits(task, contents, _FEW_WRONG):
        return []
    ranks: dict[str, tuple[bool, bool]] = {}
    for other in _load_shipped():
        if other.name != task.name and _fits(other, contents):
            # Practice data has the files of a real task; some tasks take any folder.
            ranks[other.name] = (
                other.practice,
                any(_is_misplaced(other, p) for p in contents.files),
            )
    best = [name for name, rank in ranks.items() if rank == min(ranks.values())]
    return best[:_MOST_NAMED]


@cache
def _load_shipped() -> tuple[Task, ...]:
    """The tasks that come with the kit, read once in a process."""
    return tuple(load_task(name) for name in list_tasks())


def _fits(task: Task, contents: Contents, few: float = 0.0) -> bool:
    """Whether every file has a name, columns and answers of the task, whatever its ids are.

    By its first lines; `few` is the share of them that may be wrong.
    """
    for path, content in contents.files.items():
        match = match_member(task, path)
        if match is None or not _fits_name(task, path):
            return False
        layout = task.submission.layouts[match[0]]
        lines = content.split(b"\n", _FIRST_LINES)
        is_long = len(lines) > _FIRST_LINES
        first = b"\n".join([*lines[:_FIRST_LINES], b""]) if is_long else content
        problems = read_predictions(task, first, path, match[1] or "", None, layout).problems
        if problems.count > few * len(lines) or {"header", "keys"} & set(problems.rules):
            return False
    return True


def _is_misplaced(task: Task, path: str) -> bool:
    """Whether a prediction file lies in another folder than the task names."""
    match, folder = match_member(task, path), str(PurePosixPath(path).parent)
    wanted = task.submission.layouts[match[0]].folder if match else ""
    return ("" if folder == "." else folder) != wanted


def _find_members(
    task: Task, contents: Contents, validation: Validation, *, rename: bool
) -> dict[tuple[int, str | None], str]:
    """(kind of file, language) -> path of the prediction files.

    `rename`: whether a wrong name may be all that is wrong.
    """
    expected = " or ".join(PurePosixPath(k.member).name for k in task.submission.layouts)
    members: dict[tuple[int, str | None], str] = {}
    for path in sorted(contents.files, key=PurePosixPath):
        match = match_member(task, path)
        if match is None:
            message = f"'{path}' is no prediction file of {task.name}."
            if rename:
                message = (
                    f"'{path}' is no prediction file. Name it {expected}, spelled exactly so, or "
                    "leave it out."
                )
            validation.refuse(task, "other_file", message)
        elif match[1] is not None and match[1] not in task.scoring.languages:
            hint = nearest(match[1], task.scoring.languages)
            message = (
                f"'{path}' is of language '{match[1]}', which {task.name} does not have{hint}."
            )
            validation.refuse(task, "language", message, "Unsupported prediction files")
        else:
            if match in members:
                message = f"'{members[match]}' and '{path}' are of one language. Keep one."
                validation.refuse(task, "two_files", message)
            members[match] = path
            _check_folder(task, match[0], path, contents, validation)
    if not members and not contents.hazards:
        first = task.submission.layouts[0].member
        message = f"{contents.place}: no prediction file. Expected {first}."
        validation.refuse(task, "no_predictions", message, "No prediction files")
    return dict(sorted(members.items()))


def _note_missing(
    task: Task,
    members: dict[tuple[int, str | None], str],
    contents: Contents,
    validation: Validation,
) -> None:
    """Languages without a file, and kinds of file that a language or the zip lacks."""
    if not members:
        return
    languages, layouts = task.scoring.languages, task.submission.layouts
    there = {code for _, code in members if code is not None}
    missing = [language for language in languages if language not in there]
    if there and missing and task.scoring.missing_languages == "zero":
        validation.missing_note = (
            f"{len(there)} of {len(languages)} languages: the average counts the missing "
            f"{len(missing)} as 0 ({', '.join(missing)})"
        )
        validation.warnings.append(validation.missing_note)
    for number, layout in enumerate(layouts):
        shared = is_shared(task, layout)
        wanted = [None] if shared else [code for code in languages if code in there]
        lacking = [code for code in wanted or languages[:1] if (number, code) not in members]
        names = ", ".join(layout.member_for(code or "") for code in lacking)
        if lacking and not layout.filled:
            validation.warnings.append(
                f"the zip is incomplete: {names} is made elsewhere. Put it in by "
                "`semeval-kit merge-zips`"
            )
        elif lacking:
            message = f"{contents.place}: {names} is missing. Predict its targets too."
            validation.refuse(task, "missing_member", message)


def _check_folder(
    task: Task, number: int, path: str, contents: Contents, validation: Validation
) -> None:
    if not contents.is_zip or not _is_misplaced(task, path):
        return
    wanted = task.submission.layouts[number].folder
    place = f"in '{wanted}/'" if wanted else "at the zip's root"
    message = f"'{path}' should lie {place}."
    if task.scoring.rules == "2026":
        validation.warnings.append(f"{message} The scorer of 2026 takes any folder.")
    else:
        validation.refuse(task, "folder", message)


def _train_shares(
    task: Task, data: str | Path | None, language: str, labels: tuple[str, ...]
) -> NDArray[np.float64] | None:
    """Share of positives per label in the language's own train split, if it is there."""
    single = len(task.targets) == 1 and task.targets[0].kind not in NUMERIC
    path = find_file(task, data, "train", language) if data and language and single else None
    if path is None:
        return None
    examples = read_file(task, path, language, "train")
    columns = [examples.label_names.index(label) for label in labels]
    values = examples.labels[:, columns]
    shares: NDArray[np.float64] = np.where(np.isnan(values), np.nan, values > 0).mean(axis=0)
    return shares


def _odd_columns(predictions: Predictions, shares: NDArray[np.float64] | None) -> list[str]:
    """Warnings on columns that look like a mistake: constant, all zero, or far from train."""
    names = [label for block in predictions.blocks for label in block.target.labels]
    width = predictions.preds.shape[1]
    columns = [k for block in predictions.blocks for k in range(width)[block.columns]]
    preds = np.asarray(predictions.preds[:, columns], dtype=np.float64)
    if not preds.any():
        return ["every prediction is 0, so the score will be 0"]
    notes = []
    constant = [
        f"'{label}' ({preds[0, i]:g})"
        for i, label in enumerate(names)
        if len(preds) > 1 and (preds[:, i] == preds[0, i]).all()
    ]
    if constant:
        notes.append(f"label {', '.join(constant)} is the same in every row")
    if shares is not None:
        predicted = (preds > 0).mean(axis=0)
        for label, mine, train in zip(names, predicted, shares, strict=True):
            if _is_far(float(mine), float(train), len(preds)):
                notes.append(
                    f"label '{label}' is positive in {mine:.1%} of the rows, but in {train:.1%} of "
                    "train. Are columns swapped?"
                )
    return notes


def _is_far(predicted: float, train: float, n_rows: int) -> bool:
    """Off by a factor of 3, and by 10 points and 4 standard errors: a swap, not a bad model."""
    if np.isnan(train):
        return False
    gap = abs(predicted - train)
    error = (max(train * (1 - train), 0.01) / n_rows) ** 0.5
    low, high = sorted((predicted, train))
    return gap > 0.1 and gap > 4 * error and high > 3 * low
