"""Probabilities of any origin, taken over into a run: an LLM's answers, a colleague's system."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples, hash_files, pack_rows, read_examples
from semeval_kit.data.folds import assign_folds
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError
from semeval_kit.files import hold_lock, sha256_file
from semeval_kit.plurals import count_noun
from semeval_kit.probs import Probs
from semeval_kit.run.directory import NEW_SPLITS, Run, spell_folds
from semeval_kit.run.judge import tune
from semeval_kit.run.layout import Frozen
from semeval_kit.run.plan import Say, spell_settings
from semeval_kit.run.stages import pack, score
from semeval_kit.task.codec import encode_labels, target_names
from semeval_kit.task.schema import SPLITS
from semeval_kit.task.task import Task, load_task, read_task_source

Key = tuple[str, str]
Row = dict[str, Any]
_FOLDS = 5


@dataclass(frozen=True)
class AdoptPlan:
    """What is asked.

    Attributes:
        languages: that the files speak of.
        files: (split, path); "" where the rows say their split in a column.
        seed: of the parts of training rows.
    """

    task: str
    data: Path
    languages: tuple[str, ...]
    files: tuple[tuple[str, Path], ...]
    seed: int = 0


def adopt_files(path: Path, plan: AdoptPlan, gold: Path | None, say: Say) -> Run:
    """Make a run of files of probabilities or labels.

    Training rows count as out-of-fold: that no model behind them has learnt them is their origin's
    word. Without them dev rows are the ones that are judged; without both nothing is, and the run
    can only be blended with a weight set by hand. A split that the task lets nobody learn from in a
    language that is predicted is not judged, because thresholds would be learnt from it.

    Raises:
        KitError: a file cannot be read, has no split, lacks rows, or has what is no probability.
    """
    task = load_task(plan.task).narrowed(plan.languages, plan.languages)
    task.check_languages(plan.languages)
    data = plan.data.expanduser().resolve()
    given: dict[str, dict[Key, NDArray[np.float64]]] = {}
    for split, file in plan.files:
        _read_file(task, plan.languages, split, file, given)
    known = [split for split in ("train", "dev") if split in given]
    judged = next(filter(task.may_teach, known), "")
    examples = {
        split: read_examples(task, data, split, plan.languages, labelled=split == judged)
        for split in given
    }
    probs = {split: _align(task, split, examples[split], given[split]) for split in given}
    run = _create(path, task, plan, data, judged, examples.get(judged))
    with hold_lock(run.path):
        run.clear_leftovers()
        if judged:
            fold_of = run.read_folds()
            folds = np.array([fold_of[key] for key in probs[judged].keys])
            for fold in range(run.n_folds):
                run.finish_fold(fold, probs[judged].take(np.flatnonzero(folds == fold)), n_train=0)
        for split in NEW_SPLITS:
            if split in probs and split != judged:
                hashes = hash_files(run.task, run.data, (split,), run.languages)
                run.keep_split(split, examples[split], hashes)
                run.write_split(split, probs[split])
        if not judged:
            why = "neither training nor dev rows"
            if known:
                why = f"task {task.name} lets nothing be learnt from {' and '.join(known)} of "
                why += ", ".join(plan.languages)
            say(
                f"{path}: {why}, so it cannot be judged. Blend it with a weight set by hand: "
                f"--weight {run.name}=0.3."
            )
            return run
        tune(run, say)
        pack(run, say)
        score(run, gold, say)
    return run


def _create(
    path: Path, task: Task, plan: AdoptPlan, data: Path, judged: str, examples: Examples | None
) -> Run:
    text = read_task_source(plan.task)[1]
    splits = [judged] if judged else []
    learnt = () if task.cross_lingual and not judged else plan.languages
    recipe = {
        "encoder": "external",
        "folds": _FOLDS,
        "holdout": 0.0,
        "holdout_split": "dev" if judged == "dev" else "",
        "seed": plan.seed,
    }
    settings = spell_settings(
        path,
        task,
        data,
        {"languages": plan.languages, "train_languages": learnt, "train_splits": splits},
        data_sha256=hash_files(task, data, splits, plan.languages),
        member="external",
        members={
            f"{split or 'rows'} {number}": sha256_file(file)
            for number, (split, file) in enumerate(plan.files)
        },
        seed=plan.seed,
    )
    asked = Frozen(text, recipe, settings)
    files = {}
    if examples is not None:
        folds = np.zeros(len(examples), dtype=np.int64)
        if judged == "train":
            targets = encode_labels(task, examples.labels)
            groups = number_groups(examples)
            folds = assign_folds(groups, targets, examples.languages, _FOLDS, plan.seed)
        files = {
            "rows.json": pack_rows(examples),
            "folds.csv": spell_folds(examples.ids, examples.languages, folds.tolist()),
        }
    return Run.create(path, asked, files)


def _align(
    task: Task, split: str, examples: Examples, given: Mapping[Key, NDArray[np.float64]]
) -> Probs:
    keys = examples.keys
    missing = [id_ for language, id_ in keys if (language, id_) not in given]
    foreign = sorted(id_ for _, id_ in given.keys() - set(keys))
    if missing or foreign:
        what, ids = ("lack", missing) if missing else ("have unknown", foreign)
        raise KitError(
            f"the files {what} {count_noun(len(ids), f'{split} row')} ({', '.join(ids[:3])}); "
            f"the data has {len(keys)}. A member must speak of every row, and of no other."
        )
    values = np.stack([given[key] for key in keys])
    return Probs(examples.ids, examples.languages, target_names(task), values)


def _read_file(
    task: Task,
    languages: Sequence[str],
    split: str,
    file: Path,
    given: dict[str, dict[Key, NDArray[np.float64]]],
) -> None:
    """Add a file's rows to `given`: split -> (language, id) -> probabilities `(n_targets,)`."""
    for line, row in enumerate(_list_rows(file), start=2 if file.suffix != ".jsonl" else 1):
        place = f"{file}, line {line}"
        row_split = split or str(row.get("split") or "")
        if row_split not in SPLITS:
            raise KitError(
                f"{place}: its split is not known. Name it, such as test={file}, or give every row "
                "a column 'split' of train, dev or test."
            )
        language = str(row.get("language") or (languages[0] if len(languages) == 1 else ""))
        if language not in languages:
            raise KitError(f"{place}: language '{language}' is none of {', '.join(languages)}.")
        key = (language, str(row.get("id") or ""))
        rows = given.setdefault(row_split, {})
        if not key[1] or key in rows:
            raise KitError(f"{place}: id '{key[1]}' is {'double' if key[1] else 'missing'}.")
        rows[key] = _read_values(task, language, row, place)


def _list_rows(file: Path) -> list[Row]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"{file}: cannot be read as UTF-8 ({error}).") from error
    if file.suffix == ".jsonl":
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise KitError(f"{file}: a line is not JSON ({error}).") from error
        return [{**row, **row.get("probs", {}), **row.get("labels", {})} for row in rows]
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _read_values(task: Task, language: str, row: Row, place: str) -> NDArray[np.float64]:
    """Probabilities where the row has the targets' columns, else its labels as such."""
    labels = set(task.labels_for(language))
    names = target_names(task)
    as_probs = all(n in row for n in names if n.rpartition(":")[2].split(">=")[0] in labels)
    columns = names if as_probs else task.label_names
    values = np.zeros(len(columns))
    for number, name in enumerate(columns):
        cell = row.get(name)
        if cell in (None, ""):
            if name.rpartition(":")[2].split(">=")[0] in labels:
                raise KitError(f"{place}: '{name}' is missing; {language} has that label.")
            continue
        try:
            values[number] = float(str(cell))
        except ValueError as error:
            raise KitError(f"{place}: '{name}' is '{cell}'; expected a number.") from error
    if not as_probs:
        values = encode_labels(task, values[None])[0]
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(bad):
        raise KitError(
            f"{place}: '{names[bad[0]]}' is {values[bad[0]]:g}; expected a probability 0..1."
        )
    return values
