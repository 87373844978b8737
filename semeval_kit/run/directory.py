"""The run directory: the only module that knows a file name inside a run.

A run is frozen when it is made: task, recipe, rows and folds are written once, run.json last, and
asking for the same run with other settings is an error that names the field. Every stage reads
what earlier stages wrote and writes atomically, so that calling it again resumes it.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples, drop_auxiliary, find_file, read_examples
from semeval_kit.data.extra import ExtraRows
from semeval_kit.errors import KitError
from semeval_kit.files import (
    AGAIN,
    SUMS,
    is_noted,
    keep_files,
    read_kept,
    sha256_file,
    to_csv,
    write_kept,
)
from semeval_kit.files import hold_lock as hold_lock
from semeval_kit.files import read_json as read_json
from semeval_kit.files import remove_leftovers as remove_leftovers
from semeval_kit.files import remove_tree as remove_tree
from semeval_kit.files import sync_dir as sync_dir
from semeval_kit.files import write_atomic as write_atomic
from semeval_kit.files import write_json as write_json
from semeval_kit.probs import Probs as Probs
from semeval_kit.probs import mean_probs
from semeval_kit.probs import read_probs as read_probs
from semeval_kit.probs import write_probs as write_probs
from semeval_kit.run.frozen import (
    Frozen,
    hash_files,
    list_differences,
    pack_rows,
    read_rows,
    unpack_extra,
    unpack_rows,
)
from semeval_kit.task.codec import target_names
from semeval_kit.task.task import Task, load_task

Row = dict[str, Any]
_RESTORE = "Put it back from a copy of the run, or start a new run."
# What `create` writes before run.json: a kill in between leaves them alone in the folder.
_FROZEN_FILES = {"task.toml", "recipe.toml", "rows.json", "folds.csv", "extra.json", "SHA256SUMS"}
_LEFT_BY_CREATE = _FROZEN_FILES | {"languages"}  # whose runs are made before the whole is
_CREATE_SECONDS = 30
# Kinds whose columns are probabilities; a regression's may lie outside 0..1.
_BOUNDED = ("multilabel", "singlelabel", "intensity")


class Run:
    """A run directory: its settings, its paths and what its files say."""

    def __init__(self, path: Path, data: Path | None = None) -> None:
        """Name the directory; nothing is read until it is asked for."""
        self.path = Path(path)
        self._data = data

    @classmethod
    def open(cls, path: str | Path, data: Path | None = None) -> Run:
        """Open an existing run.

        Raises:
            KitError: there is no run at the path.
        """
        run = cls(Path(path), data)
        if not run.settings_file.is_file():
            raise KitError(
                f"{path}: no run here ({run.settings_file.name} is missing). "
                "Make one with `semeval-kit run`, or name a folder under submissions/."
            )
        return run

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        task_text: str,
        recipe: Mapping[str, Any],
        settings: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
    ) -> Run:
        """Freeze a new run, or open the one that is there if its settings are the same.

        While no fold has begun, a run is frozen anew with what is asked for.

        Raises:
            KitError: the directory holds a run with other settings, or something else.
        """
        run, asked = cls(Path(path)), Frozen(task_text, recipe, settings)
        if run.goes_on_with(asked):
            return run
        run.path.mkdir(parents=True, exist_ok=True)
        with hold_lock(run.path, _CREATE_SECONDS):
            if run.goes_on_with(asked):  # another process was faster
                return run
            remove_leftovers(run.path)  # of a kill while the run was being made
            again = run.settings_file.is_file()
            left = [p.name for p in run.path.iterdir() if not p.name.startswith("seed-")]
            if not again and not set(left) <= _LEFT_BY_CREATE:
                raise KitError(
                    f"{path}: exists but is not a run (it has no {run.settings_file.name}). "
                    "Choose another --run name, or move it away."
                )
            for name in ("run.json", *_FROZEN_FILES):
                (run.path / name).unlink(missing_ok=True)
            for folder in run.path.glob("seed-*"):  # no fold has begun: it holds folds at most
                remove_tree(folder)
            keep_files(run.path)
            write_kept(run.task_file, task_text)
            write_kept(run.recipe_file, _to_toml(recipe))
            for name, text in (files or {}).items():
                keep_files((run.path / name).parent)
                write_kept(run.path / name, text)
            write_json(run.settings_file, settings)
        return cls(Path(path))

    def goes_on_with(self, asked: Frozen) -> bool:
        """Tell whether the run is there and is what is asked for; False where it can be made so.

        Raises:
            KitError: a frozen field differs and a fold has begun.
        """
        if not self.settings_file.is_file():
            return False
        have = Frozen(
            read_kept(self.task_file, _RESTORE).decode("utf-8"), self.recipe, self.settings
        )
        wrong = list_differences(have, asked)
        if wrong and self.has_begun():
            raise KitError(
                f"{self.path}: this run was made with other settings.\n" + "\n".join(wrong) + "\n"
                "Give the old settings to go on with it, or another --run name for a new run; "
                "or remove the folder to start again."
            )
        return not wrong

    def has_begun(self) -> bool:
        """Tell whether a fold is finished, has a checkpoint, or is at work."""
        parts = [Run(path) for path in (self.path / "languages").glob("*") if path.is_dir()]
        return any(part.has_begun() for part in parts) or any(
            _has_content(folder)
            for pattern in ("fold-*", "seed-*/fold-*")
            for folder in self.path.glob(pattern)
            if folder.is_dir()
        )

    @cached_property
    def settings(self) -> Row:
        """What run.json says.

        Raises:
            KitError: the file is damaged.
        """
        settings = read_json(self.settings_file, _RESTORE)
        missing = sorted({"task", "languages", "train_languages", "train_splits"} - set(settings))
        if missing:
            raise KitError(f"{self.settings_file}: lacks {', '.join(missing)}. {_RESTORE}")
        if settings.get("format", 1) > 1 and not (self.path / SUMS).is_file():
            raise KitError(f"{self.path / SUMS}: missing, so nothing here is known. {_RESTORE}")
        return settings

    @cached_property
    def recipe(self) -> Row:
        """What recipe.toml says; a local encoder by the folder where it lies now."""
        try:
            text = read_kept(self.recipe_file, _RESTORE).decode("utf-8")
            recipe = drop_old_sentinels(tomllib.loads(text))
        except ValueError as error:
            raise KitError(f"{self.recipe_file}: damaged ({error}). {_RESTORE}") from error
        if "encoder" in self._places:
            recipe["encoder"] = self._places["encoder"]
        return recipe

    @cached_property
    def _places(self) -> Row:
        """Where the data and a local encoder lie now, if not where the run was made."""
        return read_json(self.places_file) if self.places_file.is_file() else {}

    def set_places(self, **places: str) -> None:
        """Note where the data or the encoder lie now; their bytes were seen to be the same."""
        content = {**self._places, **places}
        if content != self._places:
            write_json(self.places_file, content)
            for name in ("_places", "recipe"):
                self.__dict__.pop(name, None)

    @cached_property
    def learnt_task(self) -> Task:
        """The task as it was when the run was made, narrowed to the run's languages."""
        train, predict = self.settings["train_languages"], self.settings["languages"]
        read_kept(self.task_file, _RESTORE)  # to see that it is what was written
        return load_task(self.task_file).narrowed(train or predict, predict)

    @cached_property
    def task(self) -> Task:
        """The task without auxiliary targets: that of every stage but training."""
        return self.learnt_task.without_auxiliary()

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
        """The number of folds, or 1 for a hold-out."""
        held_out = self.recipe.get("holdout") or self.recipe.get("holdout_split")
        return 1 if held_out else int(self.recipe["folds"])

    @property
    def n_models(self) -> int:
        """The number of models: one for each fold and seed."""
        return self.n_folds * int(self.recipe.get("seeds", 1))

    @property
    def seeds(self) -> str:
        """Its seeds in words: "seed 0", or "seeds 0 to 2"."""
        first = int(self.recipe.get("seed", 0))
        last = first + self.n_models // self.n_folds - 1
        return f"seed {first}" if last == first else f"seeds {first} to {last}"

    def list_models(self, fold: int) -> range:
        """The models of a fold, one per seed: numbers that take the place of a fold's anywhere."""
        return range(fold, self.n_models, self.n_folds)

    def name_model(self, model: int) -> str:
        """A model in words: "fold 2", or "fold 2 of seed 1"."""
        seed, fold = divmod(model, self.n_folds)
        return f"fold {fold} of seed {seed}" if seed else f"fold {fold}"

    @property
    def data(self) -> Path:
        """The folder of the organisers' files: as given, or where it lay before."""
        return self._data or Path(self._places.get("data") or self.settings.get("data", "."))

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
        return drop_auxiliary(self.learnt_task, self.read_taught())

    def read_taught(self) -> Examples:
        """The same examples with the labels of auxiliary targets, too: what models are taught."""
        return self._taught

    @cached_property
    def _taught(self) -> Examples:
        if not self.rows_file.is_file() and not is_noted(self.rows_file):  # made by version 0.1.0
            settings = self.settings
            return read_rows(
                self.learnt_task, self.data, settings["train_splits"], settings["train_languages"]
            )
        return self._unpack(self.rows_file, _RESTORE)

    def read_extra(self) -> ExtraRows | None:
        """Rows that every fold learns from, beside those of the task; None without any.

        Raises:
            KitError: the file is damaged.
        """
        if not self.settings.get("extra_sha256"):
            return None
        try:
            return unpack_extra(read_kept(self.extra_file, _RESTORE))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise KitError(f"{self.extra_file}: damaged ({error}). {_RESTORE}") from error

    def read_split(self, split: str) -> Examples:
        """The examples of a split in the languages that the run predicts, without labels.

        Those that were predicted, where the split was predicted; else what the files say.

        Raises:
            KitError: a file has errors, or is another than the one that was predicted.
        """
        kept = self.split_rows_file(split)
        if not kept.is_file() and not is_noted(kept):
            return read_examples(self.task, self.data, split, self.languages, labelled=False)
        now = hash_files(self.task, self.data, (split,), self.languages)
        changed = set(now.values()) - set(read_json(self.source_file(split)).values())
        if changed:
            names = ", ".join(name for name, digest in now.items() if digest in changed)
            raise KitError(
                f"{self.data}: changed since {split} was predicted: {names}. "
                "Run `semeval-kit probs` again."
            )
        return self._unpack(kept, f"Remove {kept.parent} and run the same command again.")

    def keep_split(self, split: str, examples: Examples, hashes: Mapping[str, str]) -> None:
        """Keep the rows that are predicted, and the hashes of the files that they come from."""
        write_kept(self.split_rows_file(split), pack_rows(examples))
        write_json(self.source_file(split), hashes)

    def _unpack(self, path: Path, remedy: str) -> Examples:
        try:
            return unpack_rows(read_kept(path, remedy))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise KitError(f"{path}: damaged ({error}). {remedy}") from error

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
        files = [self.find_file("gold", language) for language in self.languages]
        folders = {file.parent for file in files if file}
        # A folder for each language: the patterns of the task start from the data.
        return folders.pop() if len(folders) == 1 else self.data if folders else None

    settings_file = property(lambda self: self.path / "run.json")
    task_file = property(lambda self: self.path / "task.toml")
    recipe_file = property(lambda self: self.path / "recipe.toml")
    rows_file = property(lambda self: self.path / "rows.json")
    extra_file = property(lambda self: self.path / "extra.json")
    folds_file = property(lambda self: self.path / "folds.csv")
    places_file = property(lambda self: self.path / "places.json")
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

    def seed_dir(self, seed: int) -> Path:
        """The folder of the models of a further seed; the run's own for the first, 0."""
        return self.path / f"seed-{seed}" if seed else self.path

    def fold_dir(self, fold: int) -> Path:
        """The folder of one fold."""
        seed, number = divmod(fold, self.n_folds)
        return self.seed_dir(seed) / f"fold-{number}"

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

    def state_file(self, fold: int) -> Path:
        """Who is at work on a fold and how far it is; gone when it is done."""
        return self.fold_dir(fold) / "state.json"

    def log_file(self, fold: int) -> Path:
        """What the fold's process said; removed when the fold is done."""
        return self.fold_dir(fold) / "worker.log"

    def probs_file(self, split: str, language: str) -> Path:
        """Mean probabilities over the folds for one language."""
        return self.path / split / f"probs_{language}.csv"

    def split_rows_file(self, split: str) -> Path:
        """The rows of a split that is predicted, as they were read."""
        return self.path / split / "rows.json"

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
        if not path.is_file() and not is_noted(path):
            return []
        try:
            lines = read_kept(path).decode("utf-8").split("\n")
            return [dict(json.loads(line)) for line in lines if line]
        except (ValueError, TypeError, RecursionError) as error:
            raise KitError(
                f"{path}: damaged ({error}). Remove {path.parent}; it trains again."
            ) from error

    def find_folds(self, seed: int) -> Path:
        """The file of the folds that the models of a seed are trained on."""
        own = self.recipe.get("refold") and self.n_folds > 1
        return self.seed_dir(seed if own else 0) / "folds.csv"

    def read_folds(self, seed: int = 0) -> dict[tuple[str, str], int]:
        """The fold of each `(language, id)`; -1 marks rows that every model trains on.

        Args:
            seed: 0 for the first; others have folds of their own where the recipe says `refold`.

        Raises:
            KitError: the folds have not been made, or the file is damaged.
        """
        path = self.find_folds(seed)
        if not path.is_file() and not is_noted(path):
            raise KitError(f"{self.path}: no folds yet; run `semeval-kit prepare` first.")
        text = read_kept(path, _RESTORE).decode("utf-8", errors="replace")
        try:
            rows = csv.DictReader(io.StringIO(text, newline=""))
            return {(row["language"], row["id"]): int(row["fold"]) for row in rows}
        except (KeyError, ValueError, TypeError) as error:
            raise KitError(f"{path}: damaged ({error}). {_RESTORE}") from error

    def write_folds(
        self, ids: Sequence[str], languages: Sequence[str], folds: Sequence[int]
    ) -> None:
        """Write folds.csv: one row per training example."""
        write_kept(self.folds_file, spell_folds(ids, languages, folds))

    def read_oof(self) -> Probs:
        """Out-of-fold probabilities of all folds, in the order of folds.csv: the seeds' mean.

        Raises:
            KitError: a fold is not finished, or an id is missing or double.
        """
        starts = range(0, self.n_models, self.n_folds)
        return mean_probs([self._read_oof(range(s, s + self.n_folds)) for s in starts])

    def read_fold_oof(self, fold: int) -> Probs:
        """Out-of-fold probabilities of one fold's rows: the seeds' mean.

        Raises:
            KitError: the fold is not finished, or a file is not what was written.
        """
        return mean_probs([self._read_model_oof(model) for model in self.list_models(fold)])

    def _read_model_oof(self, model: int) -> Probs:
        done, path = self.read_done(model), self.oof_file(model)
        remedy = f"Remove {self.fold_dir(model)} and run the same command: it trains it again."
        probs = self._checked(path, remedy)
        digest = sha256_file(path)
        if digest != done.get("oof_sha256", digest):
            raise KitError(f"{path}: is not what the fold wrote (its sha256 differs). {remedy}")
        return probs

    def _read_oof(self, models: Sequence[int]) -> Probs:
        parts = [self._read_model_oof(model) for model in models]
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

    def read_fold_probs(self, fold: int, split: str) -> Probs:
        """One fold's probabilities of a split, all languages: the seeds' mean.

        Raises:
            KitError: a file is not what was written, or holds what is no probability.
        """
        files = [self.fold_probs_file(model, split) for model in self.list_models(fold)]
        return mean_probs([self._checked(file) for file in files])

    def read_probs(self, split: str, language: str) -> Probs:
        """Mean probabilities over the folds for one split and language.

        Raises:
            KitError: the file is not what was written, or holds what is no probability.
        """
        return self._checked(self.probs_file(split, language))

    def _checked(self, path: Path, remedy: str = AGAIN) -> Probs:
        probs = read_probs(path, remedy)
        if probs.target_names != tuple(target_names(self.task)):
            raise KitError(f"{path}: its columns are not the task's targets. {remedy}")
        outside = np.flatnonzero(((probs.values < 0) | (probs.values > 1)).any(axis=1))
        if len(outside) and self.task.kind in _BOUNDED:
            raise KitError(f"{path}, line {outside[0] + 2}: a probability is not in 0..1. {remedy}")
        return probs


def spell_folds(ids: Sequence[str], languages: Sequence[str], folds: Sequence[int]) -> str:
    """Spell folds.csv: one row per training example."""
    rows = [[i, g, int(f)] for i, g, f in zip(ids, languages, folds, strict=True)]
    return to_csv(["id", "language", "fold"], rows)


def drop_old_sentinels(recipe: Row) -> Row:
    """The fields of a recipe without those that an older version wrote for "not set"."""
    return {name: value for name, value in recipe.items() if (name, value) not in _OLD_UNSET}


# Fields of a recipe that may be left open: the encoder decides, and done.json says what.
OPEN_FIELDS = ("lr", "hidden_dropout", "attention_dropout")
_OLD_UNSET = tuple(zip(OPEN_FIELDS, (0.0, -1.0, -1.0), strict=True))


def _has_content(fold_dir: Path) -> bool:
    """Whether there is more in a fold's folder than the log of a failure, or a process in it."""
    if any(path.name not in ("worker.log", "state.json", SUMS) for path in fold_dir.iterdir()):
        return True
    try:
        with hold_lock(fold_dir):
            return False
    except KitError:
        return True


def _to_toml(flat: Mapping[str, Any]) -> str:
    # JSON's values are TOML's too, if characters outside the basic plane are written as they are.
    return "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in flat.items())
