"""The run directory: made, opened and read.

A run is frozen when it is made: task, recipe, rows and folds are written once, run.json last, and
asking for the same run with other settings is an error that names the field. Every stage reads
what earlier stages wrote and writes atomically, so that calling it again resumes it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from semeval_kit.data.examples import (
    Examples,
    drop_auxiliary,
    hash_files,
    pack_rows,
    read_examples,
    read_splits,
    unpack_rows,
)
from semeval_kit.data.extra import ExtraRows, unpack_extra
from semeval_kit.errors import KitError
from semeval_kit.files import (
    AGAIN,
    SUMS,
    hold_lock,
    is_noted,
    keep_files,
    read_json,
    read_kept,
    remove_leftovers,
    remove_tree,
    sha256_file,
    to_csv,
    write_json,
    write_kept,
)
from semeval_kit.probs import Probs, mean_probs, read_probs, write_probs
from semeval_kit.run.layout import FLEETING, RESTORE, Frozen, Layout, Row, list_differences
from semeval_kit.task.codec import target_names
from semeval_kit.task.metric_facts import NUMERIC
from semeval_kit.task.task import Task

NEW_SPLITS = ("dev", "test")  # that are predicted


def unlabelled_splits(task: Task) -> list[str]:
    """The splits whose texts encoders may read without labels, see `Task.may_teach`."""
    return [split for split in NEW_SPLITS if task.may_teach(split)]


# What `create` writes before run.json: a kill in between leaves them alone in the folder.
_FROZEN_FILES = {"task.toml", "recipe.toml", "rows.json", "folds.csv", "extra.json", "SHA256SUMS"}
_LEFT_BY_CREATE = _FROZEN_FILES | {"languages"}  # whose runs are made before the whole is
_CREATE_SECONDS = 30


class Run(Layout):
    """A run directory: made, opened, and what its files say."""

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
    def create(cls, path: str | Path, asked: Frozen, files: Mapping[str, str] | None = None) -> Run:
        """Freeze a new run, or open the one that is there if its settings are the same.

        While no fold has begun, a run is frozen anew with what is asked for.

        Raises:
            KitError: the directory holds a run with other settings, or something else.
        """
        run = cls(Path(path))
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
            write_kept(run.task_file, asked.task_text)
            # JSON's values are TOML's too, if all characters are written as they are.
            fields = {k: json.dumps(v, ensure_ascii=False) for k, v in asked.recipe.items()}
            write_kept(run.recipe_file, "".join(f"{k} = {v}\n" for k, v in fields.items()))
            for name, text in (files or {}).items():
                keep_files((run.path / name).parent)
                write_kept(run.path / name, text)
            write_json(run.settings_file, asked.settings)
        return cls(Path(path))

    def goes_on_with(self, asked: Frozen) -> bool:
        """Tell whether the run is there and is what is asked for; False where it can be made so.

        Raises:
            KitError: a frozen field differs and a fold has begun.
        """
        if not self.settings_file.is_file():
            return False
        have = Frozen(
            read_kept(self.task_file, RESTORE).decode("utf-8"), self.recipe, self.settings
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

    def clear_leftovers(self) -> None:
        """Remove what a kill in the middle of writing left, where no other process is at work."""
        folders = [path for path in self.path.iterdir() if path.is_dir() and not path.is_symlink()]
        for folder in (self.path, *folders):
            remove_leftovers(folder)

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
        return examples.take([r for r, key in enumerate(examples.keys) if fold_of[key] < 0])

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
            return read_splits(
                self.learnt_task, self.data, settings["train_splits"], settings["train_languages"]
            )
        return self._unpack(self.rows_file, RESTORE)

    def read_extra(self) -> ExtraRows | None:
        """Rows that every fold learns from, beside those of the task; None without any.

        Raises:
            KitError: the file is damaged.
        """
        if not self.settings.get("extra_sha256"):
            return None
        try:
            return unpack_extra(read_kept(self.extra_file, RESTORE))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise KitError(f"{self.extra_file}: damaged ({error}). {RESTORE}") from error

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

    def read_unlabelled(self) -> list[Examples]:
        """The examples of dev and of test that encoders read without labels, as far as they exist.

        Raises:
            KitError: a file has changed since the run was made.
        """
        task, data = self.task, self.data
        splits = unlabelled_splits(task)
        if hash_files(task, data, splits, self.languages) != self.settings["texts_sha256"]:
            raise KitError(
                f"{data}: files of dev or test have changed since the run was made, and its "
                "encoders read them. Put the old files back, or start a new run."
            )
        there = [(s, [g for g in self.languages if self.find_file(s, g)]) for s in splits]
        return [read_examples(task, data, s, codes, labelled=False) for s, codes in there if codes]

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

    def read_done(self, fold: int) -> Row:
        """What a finished fold says of itself.

        Raises:
            KitError: the fold is not finished.
        """
        if not self.is_done(fold):
            raise KitError(f"{self.path}: fold {fold} is not finished; run `semeval-kit train`.")
        return read_json(self.done_file(fold))

    def finish_fold(self, fold: int, probs: Probs, n_train: int) -> None:
        """Write the out-of-fold rows of a fold whose member the kit does not train."""
        write_probs(self.oof_file(fold), probs)
        done = {"fold": fold, "n_train": n_train, "n_valid": len(probs), "encoder": self.member}
        write_json(self.done_file(fold), {**done, "oof_sha256": sha256_file(self.oof_file(fold))})

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
        text = read_kept(path, RESTORE).decode("utf-8", errors="replace")
        try:
            rows = csv.DictReader(io.StringIO(text, newline=""))
            return {(row["language"], row["id"]): int(row["fold"]) for row in rows}
        except (KeyError, ValueError, TypeError) as error:
            raise KitError(f"{path}: damaged ({error}). {RESTORE}") from error

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
        probs = Probs.concat([self._read_model_oof(model) for model in models])
        held_out = [key for key, fold in self.read_folds().items() if fold >= 0]
        if len(probs) != len(held_out) or set(probs.keys) != set(held_out):
            raise KitError(
                f"{self.path}: the out-of-fold files do not hold every row of folds.csv once. "
                "Remove the folder of the fold that is wrong and run the same command again."
            )
        return probs.order(held_out)

    def read_fold_probs(self, fold: int, split: str) -> Probs:
        """One fold's probabilities of a split, all languages: the seeds' mean.

        Raises:
            KitError: a file is not what was written, or holds what is no probability.
        """
        files = [self.fold_probs_file(model, split) for model in self.list_models(fold)]
        return mean_probs([self._checked(file) for file in files])

    def write_split(self, split: str, probs: Probs) -> None:
        """Write the mean probabilities of a split, a file for each language."""
        languages = np.asarray(probs.languages)
        for language in self.languages:
            rows = np.flatnonzero(languages == language)
            write_probs(self.probs_file(split, language), probs.take(rows))

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
        if len(outside) and self.task.kind not in NUMERIC:
            raise KitError(f"{path}, line {outside[0] + 2}: a probability is not in 0..1. {remedy}")
        return probs


def spell_folds(ids: Sequence[str], languages: Sequence[str], folds: Sequence[int]) -> str:
    """Spell folds.csv: one row per training example."""
    rows = [[i, g, int(f)] for i, g, f in zip(ids, languages, folds, strict=True)]
    return to_csv(["id", "language", "fold"], rows)


def _has_content(fold_dir: Path) -> bool:
    """Whether there is more in a fold's folder than the log of a failure, or a process in it."""
    if any(path.name not in (*FLEETING, SUMS) for path in fold_dir.iterdir()):
        return True
    try:
        with hold_lock(fold_dir):
            return False
    except KitError:
        return True
