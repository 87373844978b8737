"""The run directory: the only module that knows a file name inside a run.

A run is frozen when it is made: task, recipe, data and folds are written once, and asking for the
same run with other settings is an error that names the field. Every stage reads what earlier
stages wrote and writes atomically, so that calling it again resumes it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples, find_file, read_examples
from semeval_kit.errors import KitError
from semeval_kit.files import hold_lock as hold_lock
from semeval_kit.files import read_json as read_json
from semeval_kit.files import remove_leftovers as remove_leftovers
from semeval_kit.files import remove_tree as remove_tree
from semeval_kit.files import sync_dir as sync_dir
from semeval_kit.files import to_csv
from semeval_kit.files import write_atomic as write_atomic
from semeval_kit.files import write_json as write_json
from semeval_kit.probs import Probs as Probs
from semeval_kit.probs import read_probs as read_probs
from semeval_kit.probs import write_probs as write_probs
from semeval_kit.task.task import Task, load_task

Row = dict[str, Any]


class Run:
    """A run directory: its settings, its paths and what its files say."""

    def __init__(self, path: Path) -> None:
        """Name the directory; nothing is read until it is asked for."""
        self.path = Path(path)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run.

        Raises:
            KitError: there is no run at the path.
        """
        run = cls(Path(path))
        if not run.settings_file.is_file():
            raise KitError(
                f"{path}: no run here ({run.settings_file.name} is missing). "
                "Make one with `semeval-kit run`, or name a folder under submissions/."
            )
        return run

    @classmethod
    def create(
        cls, path: str | Path, *, task_text: str, recipe: Mapping[str, Any], settings: Row
    ) -> Run:
        """Freeze a new run, or open the one that is there if its settings are the same.

        Args:
            path: the directory.
            task_text: the task file, as it is.
            recipe: hyperparameters by name.
            settings: everything else that must not change: task, languages, data, splits.

        Raises:
            KitError: the directory holds a run with other settings, or something else.
        """
        run = cls(Path(path))
        if run.settings_file.is_file():
            run.require_same(recipe, settings, task_text)
            return run
        if run.path.exists():
            remove_leftovers(run.path)  # of a kill while the run was being made
        if run.path.exists() and any(p.name not in _LEFT_BY_CREATE for p in run.path.iterdir()):
            raise KitError(
                f"{path}: exists but is not a run. Choose another --run name, or move it away."
            )
        run.path.mkdir(parents=True, exist_ok=True)
        write_atomic(run.task_file, task_text)
        write_atomic(run.recipe_file, _to_toml(recipe))
        write_json(run.settings_file, settings)
        return run

    def require_same(self, recipe: Mapping[str, Any], settings: Row, task_text: str) -> None:
        """Raise an error that names the fields in which the run differs from what is asked.

        Raises:
            KitError: a frozen field differs.
        """
        own_text = self.task_file.read_text(encoding="utf-8")
        asked = {**_frozen(settings), **_prefixed("recipe", recipe), **_frozen_task(task_text)}
        have = {
            **_frozen(self.settings),
            **_prefixed("recipe", self.recipe),
            **_frozen_task(own_text),
        }
        wrong = [
            f"  {field}: the run has {have.get(field)!r}, you ask for {asked.get(field)!r}"
            for field in sorted(asked.keys() | have.keys())
            if asked.get(field) != have.get(field)
        ]
        if wrong:
            raise KitError(
                f"{self.path}: this run was made with other settings.\n" + "\n".join(wrong) + "\n"
                "Give the old settings to go on with it, or another --run name for a new run."
            )

    @cached_property
    def settings(self) -> Row:
        """What run.json says."""
        return read_json(self.settings_file)

    @cached_property
    def recipe(self) -> Row:
        """What recipe.toml says."""
        return tomllib.loads(self.recipe_file.read_text(encoding="utf-8"))

    @cached_property
    def task(self) -> Task:
        """The task as it was when the run was made, narrowed to the run's languages."""
        train, predict = self.settings["train_languages"], self.settings["languages"]
        return load_task(self.task_file).narrowed(train or predict, predict)

    @property
    def name(self) -> str:
        """The run's name: that of its directory."""
        return self.path.resolve().name

    @property
    def member(self) -> str:
        """What gives its probabilities: encoder, linear, frozen, external or blend."""
        return str(self.settings.get("member", "encoder"))

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that are predicted."""
        return tuple(self.settings["languages"])

    @property
    def n_folds(self) -> int:
        """The number of models: folds, or 1 for a hold-out."""
        held_out = self.recipe.get("holdout") or self.recipe.get("holdout_split")
        return 1 if held_out else int(self.recipe["folds"])

    @property
    def data(self) -> Path:
        """The folder of the organisers' files."""
        return Path(self.settings["data"])

    def find_file(self, split: str, language: str) -> Path | None:
        """The organisers' file of a split (train, dev, test or gold) and language, or None."""
        return find_file(self.task, self.data, split, language)

    @property
    def held_out_split(self) -> str:
        """The split that is held out instead of folds; empty where there is none."""
        return str(self.recipe.get("holdout_split") or "")

    @property
    def learnt_splits(self) -> tuple[str, ...]:
        """The splits that the models learn from: those with rows in folds.csv, but one held out."""
        return tuple(s for s in self.settings["train_splits"] if s != self.held_out_split)

    @property
    def scheme(self) -> str:
        """How rows are held out, in words: "5 folds", "20% held out" or "dev held out"."""
        if self.held_out_split:
            return f"{self.held_out_split} held out"
        if self.recipe.get("holdout"):
            return f"{100 * float(self.recipe['holdout']):.3g}% held out"
        return f"{self.n_folds} folds"

    @property
    def n_learnt_rows(self) -> int:
        """How many rows a model of the run learns from; with folds, all: each fold from others."""
        folds = self.read_folds().values()
        return len(folds) if self.n_folds > 1 else sum(fold < 0 for fold in folds)

    @property
    def n_held_out_rows(self) -> int:
        """How many rows are judged by a model that has not learnt them."""
        return sum(fold >= 0 for fold in self.read_folds().values())

    def read_learnt(self) -> Examples:
        """The examples that the models learn from, without the rows of a hold-out."""
        examples, fold_of = self.read_train(), self.read_folds()
        if self.n_folds > 1:
            return examples
        keys = zip(examples.languages, examples.ids, strict=True)
        return examples.take([row for row, key in enumerate(keys) if fold_of[key] < 0])

    def read_train(self) -> Examples:
        """The examples of folds.csv in its order: learnt from, or held out."""
        languages = self.settings["train_languages"]
        splits = [
            read_examples(self.task, self.settings["data"], split, languages, labelled=True)
            for split in self.settings["train_splits"]
        ]
        if len(splits) > 1:  # rows that are numbered start at 1 in every split
            names = self.settings["train_splits"]
            splits = [
                replace(part, ids=tuple(f"{split}:{id_}" for id_ in part.ids))
                for part, split in zip(splits, names, strict=True)
            ]
        return Examples.concat(splits)

    def read_split(self, split: str) -> Examples:
        """The examples of a split in the languages that the run predicts.

        Labels are left out, even where a file has them: predicting needs none.
        """
        data = self.settings["data"]
        return read_examples(self.task, data, split, self.languages, labelled=False)

    def find_gold(self, given: str | Path | None = None) -> Path | None:
        """Where reference labels of the test split lie, or None.

        Args:
            given: file or folder; None: what the run was scored with, or else where the task says
                that gold lies in its data.
        """
        if given is not None:
            return Path(given)
        if self.score_file.is_file():
            place = Path(read_json(self.score_file)["gold"])
            if place.exists():
                return place
        data = self.settings["data"]
        files = [find_file(self.task, data, "gold", language) for language in self.languages]
        return next((file.parent for file in files if file), None)

    settings_file = property(lambda self: self.path / "run.json")
    task_file = property(lambda self: self.path / "task.toml")
    recipe_file = property(lambda self: self.path / "recipe.toml")
    folds_file = property(lambda self: self.path / "folds.csv")
    thresholds_file = property(lambda self: self.path / "thresholds.json")
    estimate_file = property(lambda self: self.path / "estimate.json")
    oof_answers_file = property(lambda self: self.path / "oof_answers.csv")
    zip_file = property(lambda self: self.path / f"{self.name}.zip")
    score_file = property(lambda self: self.path / "score.json")
    report_file = property(lambda self: self.path / "report.html")
    card_file = property(lambda self: self.path / "README.md")
    figures_dir = property(lambda self: self.path / "figures")
    explain_dir = property(lambda self: self.path / "explain")
    paper_dir = property(lambda self: self.path / "paper")

    def language_dir(self, language: str) -> Path:
        """The run of one language, where each language has a model of its own."""
        return self.path / "languages" / language

    @property
    def before_dir(self) -> Path:
        """The run of the same encoder before fine-tuning, where that is measured."""
        return self.path / "before"

    def fold_dir(self, fold: int) -> Path:
        """The folder of one fold."""
        return self.path / f"fold-{fold}"

    def checkpoint_dir(self, fold: int) -> Path:
        """Where a fold keeps its resumable state until it is done."""
        return self.fold_dir(fold) / "checkpoint"

    def model_dir(self, fold: int) -> Path:
        """A fold's final weights, as `save_pretrained` lays them down."""
        return self.fold_dir(fold) / "model"

    def history_file(self, fold: int) -> Path:
        """One JSON object per epoch."""
        return self.fold_dir(fold) / "history.jsonl"

    def oof_file(self, fold: int) -> Path:
        """Probabilities of the rows that the fold did not train on."""
        return self.fold_dir(fold) / "oof.csv"

    def fold_probs_file(self, fold: int, split: str) -> Path:
        """Probabilities of one fold's model for a split, all languages."""
        return self.fold_dir(fold) / f"probs_{split}.csv"

    def done_file(self, fold: int) -> Path:
        """Written last: its existence means that the fold is finished."""
        return self.fold_dir(fold) / "done.json"

    def log_file(self, fold: int) -> Path:
        """What the fold's process said; removed when the fold is done."""
        return self.fold_dir(fold) / "worker.log"

    def probs_file(self, split: str, language: str) -> Path:
        """Mean probabilities over the folds for one language."""
        return self.path / split / f"probs_{language}.csv"

    def source_file(self, split: str) -> Path:
        """The sha256 of the files that the probabilities of a split were made from."""
        return self.path / split / "source.json"

    def pred_file(self, split: str, language: str) -> Path:
        """Predictions of one language in the organisers' layout."""
        return self.path / split / f"pred_{language}.csv"

    def is_done(self, fold: int) -> bool:
        """Tell whether a fold is finished."""
        return self.done_file(fold).is_file()

    def read_done(self, fold: int) -> Row:
        """What a finished fold says of itself.

        Raises:
            KitError: the fold is not finished.
        """
        if not self.is_done(fold):
            raise KitError(f"{self.path}: fold {fold} is not finished; run `semeval-kit train`.")
        return read_json(self.done_file(fold))

    def read_history(self, fold: int) -> list[Row]:
        """One entry per epoch of a fold; empty before the first."""
        path = self.history_file(fold)
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]

    def read_folds(self) -> dict[tuple[str, str], int]:
        """The fold of each `(language, id)`; -1 marks rows that every model trains on.

        Raises:
            KitError: the folds have not been made.
        """
        if not self.folds_file.is_file():
            raise KitError(f"{self.path}: no folds yet; run `semeval-kit prepare` first.")
        with self.folds_file.open(encoding="utf-8", newline="") as file:
            return {(r["language"], r["id"]): int(r["fold"]) for r in csv.DictReader(file)}

    def write_folds(
        self, ids: Sequence[str], languages: Sequence[str], folds: Sequence[int]
    ) -> None:
        """Write folds.csv: one row per training example."""
        rows = [[i, g, int(f)] for i, g, f in zip(ids, languages, folds, strict=True)]
        write_atomic(self.folds_file, to_csv(["id", "language", "fold"], rows))

    def read_oof(self) -> Probs:
        """Out-of-fold probabilities of all folds, in the order of folds.csv.

        Raises:
            KitError: a fold is not finished, or an id is missing or double.
        """
        parts = []
        for fold in range(self.n_folds):
            done = self.read_done(fold)
            parts.append(read_probs(self.oof_file(fold)))
            digest = hashlib.sha256(self.oof_file(fold).read_bytes()).hexdigest()
            if digest != done.get("oof_sha256", digest):
                raise KitError(
                    f"{self.oof_file(fold)}: is not what the fold wrote (its sha256 differs). "
                    f"Remove {self.fold_dir(fold)} and run the same command: it trains it again."
                )
        keys = [key for p in parts for key in zip(p.languages, p.ids, strict=True)]
        position = {key: row for row, key in enumerate(keys)}
        held_out = [key for key, fold in self.read_folds().items() if fold >= 0]
        if len(keys) != len(held_out) or set(position) != set(held_out):
            raise KitError(
                f"{self.path}: the out-of-fold files do not hold every row of folds.csv once. "
                "Remove the folder of the fold that is wrong and run the same command again."
            )
        joined = Probs(
            ids=tuple(i for p in parts for i in p.ids),
            languages=tuple(g for p in parts for g in p.languages),
            target_names=parts[0].target_names,
            values=np.concatenate([p.values for p in parts]),
        )
        return joined.take([position[key] for key in held_out])

    def read_probs(self, split: str, language: str) -> Probs:
        """Mean probabilities over the folds for one split and language."""
        return read_probs(self.probs_file(split, language))


# What `create` writes before run.json: a kill in between leaves them alone in the folder.
_LEFT_BY_CREATE = {"task.toml", "recipe.toml"}
# Settings that describe the moment and the machine, not the result.
_NOT_FROZEN = {"created", "versions", "machine", "jobs", "name", "command"}
# Parts of a task file that change no result; a newer kit may know more of them.
_TASK_PROSE = {"title", "url", "notes", "citations", "baselines", "hub", "recipe", "practice"}


def _frozen(settings: Row) -> Row:
    plain: Row = json.loads(json.dumps(settings))
    kept = {key: value for key, value in plain.items() if key not in _NOT_FROZEN}
    for name in ("data_sha256", "encoder_sha256"):
        kept |= _prefixed(name, kept.pop(name, {}))
    return kept


def _frozen_task(text: str) -> Row:
    fields = tomllib.loads(text)
    return _prefixed("task", {k: v for k, v in fields.items() if k not in _TASK_PROSE})


def _prefixed(prefix: str, fields: Mapping[str, Any]) -> Row:
    return {f"{prefix}.{key}": value for key, value in fields.items()}


def _to_toml(flat: Mapping[str, Any]) -> str:
    # JSON's values are TOML's too, if characters outside the basic plane are written as they are.
    return "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in flat.items())
