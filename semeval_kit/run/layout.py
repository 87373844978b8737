"""What a run is, what is frozen in it, and where its files lie: only here their names stand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import find_file
from semeval_kit.errors import KitError
from semeval_kit.files import SUMS, read_json, read_kept, write_json
from semeval_kit.task.task import Task, load_task

Row = dict[str, Any]
FLEETING = ("worker.log", "state.json")
"""Files of a fold that say how it goes, and that nothing goes on from."""
RESTORE = "Put it back from a copy of the run, or start a new run."
# Fields of a recipe that may be left open: the encoder decides, and done.json says what.
OPEN_FIELDS = ("lr", "hidden_dropout", "attention_dropout")
_OLD_UNSET = tuple(zip(OPEN_FIELDS, (0.0, -1.0, -1.0), strict=True))
# Settings that describe the moment, the machine and the place, not the result.
_NOT_FROZEN = {"created", "versions", "machine", "jobs", "name", "command", "data", "format"}
# Parts of a task file that change no result; a newer kit may know more of them.
_TASK_PROSE = {"title", "url", "notes", "citations", "baselines", "hub", "recipe", "practice"}


@dataclass(frozen=True)
class Frozen:
    """What a run is made with."""

    task_text: str
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]


def _name_in_fold(name: str) -> Callable[[Layout, int], Path]:
    """The path of a file, or of a folder, in the folder of one fold."""
    return lambda layout, fold: layout.fold_dir(fold) / name


class Layout:
    """The settings of a run directory, and the paths of its files; see `directory.Run`."""

    def __init__(self, path: Path, data: Path | None = None) -> None:
        """Name the directory; nothing is read until it is asked for."""
        self.path = Path(path)
        self._data = data

    @cached_property
    def settings(self) -> Row:
        """What run.json says.

        Raises:
            KitError: the file is damaged.
        """
        settings = read_json(self.settings_file, RESTORE)
        missing = sorted({"task", "languages", "train_languages", "train_splits"} - set(settings))
        if missing:
            raise KitError(f"{self.settings_file}: lacks {', '.join(missing)}. {RESTORE}")
        if settings.get("format", 1) > 1 and not (self.path / SUMS).is_file():
            raise KitError(f"{self.path / SUMS}: missing, so nothing here is known. {RESTORE}")
        return settings

    @cached_property
    def recipe(self) -> Row:
        """What recipe.toml says; a local encoder by the folder where it lies now."""
        try:
            text = read_kept(self.recipe_file, RESTORE).decode("utf-8")
            recipe = drop_old_sentinels(tomllib.loads(text))
        except ValueError as error:
            raise KitError(f"{self.recipe_file}: damaged ({error}). {RESTORE}") from error
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
        read_kept(self.task_file, RESTORE)  # to see that it is what was written
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
    weights_file = property(lambda self: self.path / "weights.json")
    blend_file = property(lambda self: self.path / "blend.json")
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

    checkpoint_dir = _name_in_fold("checkpoint")
    """A fold's resumable state, until it is done."""
    model_dir = _name_in_fold("model")
    """A fold's final weights, as `save_pretrained` lays them down."""
    history_file = _name_in_fold("history.jsonl")
    """One JSON object per epoch."""
    oof_file = _name_in_fold("oof.csv")
    """Probabilities of the rows that the fold did not train on."""
    done_file = _name_in_fold("done.json")
    """Written last: its existence means that the fold is finished."""
    state_file = _name_in_fold("state.json")
    """Who is at work on a fold and how far it is; gone when it is done."""
    log_file = _name_in_fold("worker.log")
    """What the fold's process said; removed when the fold is done."""

    def fold_probs_file(self, fold: int, split: str) -> Path:
        """Probabilities of one fold's model for a split, all languages."""
        return self.fold_dir(fold) / f"probs_{split}.csv"

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

    def find_folds(self, seed: int) -> Path:
        """The file of the folds that the models of a seed are trained on."""
        dealt_anew = self.recipe.get("refold") and self.n_folds > 1
        return self.seed_dir(seed if dealt_anew else 0) / "folds.csv"

    def is_done(self, fold: int) -> bool:
        """Tell whether a fold is finished."""
        return self.done_file(fold).is_file()


def list_differences(have: Frozen, asked: Frozen) -> list[str]:
    """The frozen fields in which a run differs from what is asked for, a line each.

    Data and a local encoder are known by their hashes, wherever they lie. Training files that are
    not there are no difference, as the run keeps their rows.
    """
    mine, theirs = _flatten(have), _flatten(asked)
    kept_hashes = set(have.settings.get("data_sha256", {}).values())
    for name in [name for name in theirs if name.startswith("data_sha256.")]:
        if name not in mine and theirs[name] in kept_hashes:
            del theirs[name]
    for name in [name for name in mine if name.startswith("data_sha256.") and name not in theirs]:
        del mine[name]
    encoder = have.settings.get("encoder_sha256")
    if encoder and encoder == asked.settings.get("encoder_sha256"):
        mine["recipe.encoder"] = theirs.get("recipe.encoder")
    return [
        f"  {field}: the run has {mine.get(field)!r}, you ask for {theirs.get(field)!r}"
        for field in sorted(mine.keys() | theirs.keys())
        if mine.get(field) != theirs.get(field)
    ]


def drop_old_sentinels(recipe: Row) -> Row:
    """The fields of a recipe without those that an older version wrote for "not set"."""
    return {name: value for name, value in recipe.items() if (name, value) not in _OLD_UNSET}


def _flatten(frozen: Frozen) -> Row:
    plain: Row = json.loads(json.dumps(dict(frozen.settings)))
    kept = {key: value for key, value in plain.items() if key not in _NOT_FROZEN}
    for name in ("data_sha256", "encoder_sha256", "extra_sha256", "texts_sha256"):
        kept |= _prefix(name, kept.pop(name, {}))
    task = {k: v for k, v in tomllib.loads(frozen.task_text).items() if k not in _TASK_PROSE}
    return {**kept, **_prefix("recipe", frozen.recipe), **_prefix("task", task)}


def _prefix(prefix: str, fields: Mapping[str, Any]) -> Row:
    return {f"{prefix}.{key}": value for key, value in fields.items()}
