"""What a person asks for, and what of it is frozen when a run is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import hash_files
from semeval_kit.errors import KitError
from semeval_kit.files import sha256_file
from semeval_kit.run.directory import Run, unlabelled_splits
from semeval_kit.run.layout import Frozen
from semeval_kit.task.schema import fill_language
from semeval_kit.task.task import Task, read_task_source
from semeval_kit.training.machine import describe_machine, describe_versions
from semeval_kit.training.recipe import Recipe
from semeval_kit.training.source import EMBEDDED, FROZEN, TFIDF, hash_encoder, pin_revision
from semeval_kit.training.space import Space

Say = Callable[[str], None]

# The fields of a recipe that mean something to members that are not trained by steps.
_SPLIT_FIELDS = ("encoder", "folds", "holdout", "holdout_split", "seed")
_FIELDS = {"linear": _SPLIT_FIELDS, "frozen": (*_SPLIT_FIELDS, "revision", "max_length")}


@dataclass(frozen=True)
class Plan:
    """What a person asks for.

    Attributes:
        config: the recipe with overrides.
        train_languages: to learn from; empty: those that are predicted, or for a cross-lingual
            task all others.
        before: measure the encoder before fine-tuning, too.
    """

    task: str
    data: Path
    languages: tuple[str, ...]
    config: Recipe
    train_languages: tuple[str, ...] = ()
    train_splits: tuple[str, ...] = ("train",)
    before: bool = False


@dataclass(frozen=True)
class Engine:
    """How a run is computed; it does not change what is computed, except threads (see run.json).

    Attributes:
        jobs: folds at a time; None: from the machine.
        threads: per fold; None: from the machine.
        processes: per fold.
        folds: only these; empty: all.
    """

    jobs: int | None = None
    threads: int | None = None
    processes: int = 1
    folds: tuple[int, ...] = ()


@dataclass(frozen=True)
class SearchPlan:
    """What is searched.

    Attributes:
        plan: task, data, and the recipe that the search begins with.
        space: the fields that vary.
        objective: "score" (cross-fitted) or "map" (mean average precision).
        n_trials: in all, by all processes.
        hours: after which a process begins no fold; None: no limit.
        storage: URL of a database; empty: a journal file in the search's folder.
        keep_models: keep the weights of all trials.
    """

    plan: Plan
    space: Space
    objective: str = "score"
    n_trials: int = 40
    hours: float | None = None
    storage: str = ""
    keep_models: bool = False


def freeze_plan(path: Path, plan: Plan, task: Task) -> tuple[Recipe, Frozen]:
    """The recipe with its encoder pinned, and all that must not change while the run is there."""
    languages = task.check_languages(plan.languages)
    train_languages = choose_train_languages(task, languages, plan.train_languages)
    if plan.config.pairs == "apart" and not task.data.has_pairs:
        raise KitError(
            f"recipe: pairs = 'apart', but task {task.name} has one text per row. "
            "Leave it out, or name the second text in the task file ([data] pair)."
        )
    config = pin_encoder(path, plan.config)  # a name that leads nowhere is told before any work
    data = plan.data.expanduser().resolve()
    splits = plan.train_splits
    if plan.config.holdout_split and plan.config.holdout_split not in splits:
        splits = (*splits, plan.config.holdout_split)
    settings = spell_settings(
        path,
        task,
        data,
        {"languages": languages, "train_languages": train_languages, "train_splits": splits},
        data_sha256=hash_files(task, data, splits, train_languages),
        encoder_sha256=hash_encoder(config.encoder),
        seed=config.seed,
        **hash_extra(config, train_languages),
        **hash_unlabelled(config, task, data, languages),
        **_name_member(config),
    )
    return config, Frozen(read_task_source(plan.task)[1], freeze_recipe(config), settings)


def choose_train_languages(
    task: Task, languages: Sequence[str], asked: Sequence[str]
) -> tuple[str, ...]:
    """The languages to learn from: those asked for, or what the task and its track make of it.

    Raises:
        KitError: one is unknown, has no files, or may not be learnt from.
    """
    if asked:
        learnt = tuple(asked)
        unknown = [g for g in learnt if g not in task.train_languages]
        if unknown:
            raise KitError(
                f"no training language {', '.join(unknown)} in task {task.name}. "
                f"It has: {', '.join(task.train_languages)}."
            )
    elif task.cross_lingual:
        learnt = tuple(g for g in task.train_languages if g not in languages)
    else:
        learnt = tuple(languages)
    both = [g for g in learnt if g in languages]
    if task.cross_lingual and both:
        raise KitError(
            f"task {task.name} is cross-lingual: {', '.join(both)} would be both learnt from and "
            "predicted. Choose other --train-langs, or predict fewer languages in one run."
        )
    if not learnt:
        raise KitError(
            f"task {task.name}: no training language is left. Predict fewer languages in one run "
            "(--per-language), or name --train-langs."
        )
    unable = [g for g in learnt if g not in task.train_languages]
    if unable:
        raise KitError(
            f"task {task.name} has no training files for {', '.join(unable)}. "
            "Leave them out of --langs, or name --train-langs."
        )
    return learnt


def hash_extra(config: Recipe, languages: Sequence[str]) -> dict[str, Any]:
    """The setting that knows files of extra rows by their bytes; none without any."""
    if not config.extra:
        return {}
    if _name_member(config):
        raise KitError("extra rows are learnt by encoders only. Leave --extra out.")
    named = [fill_language(name, code) for name in config.extra for code in languages]
    files = [Path(name) for name in dict.fromkeys(named)]
    return {"extra_sha256": {f.name: sha256_file(f) for f in files if f.is_file()}}


def hash_unlabelled(
    config: Recipe, task: Task, data: Path, languages: Sequence[str]
) -> dict[str, Any]:
    """The setting that knows the files of dev and test that are read without labels, if any are.

    Raises:
        KitError: a member without steps is asked to read texts with masked tokens.
    """
    if config.mlm_epochs and _name_member(config):
        raise KitError("only encoders that are trained read masked tokens. Set mlm_epochs = 0.")
    if not (config.mlm_epochs and config.transductive):
        return {}
    return {"texts_sha256": hash_files(task, data, unlabelled_splits(task), languages)}


def spell_settings(
    path: Path, task: Task, data: Path, languages: Mapping[str, Sequence[str]], **more: Any
) -> dict[str, Any]:
    """What run.json says of a run.

    Languages has "languages", "train_languages" and "train_splits"; more are hashes of what it is
    made from, and settings of the kind of member.
    """
    return {
        "task": task.name,
        **{name: list(words) for name, words in languages.items()},
        "data": str(data),
        **more,
        # Where and when it was made may differ when it goes on.
        "format": 2,
        "name": path.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": describe_versions(),
        "machine": describe_machine(),
    }


def pin_encoder(path: Path, config: Recipe) -> Recipe:
    """The recipe with the commit of a hub encoder: the newest one, or that of the run at `path`.

    Raises:
        KitError: the encoder cannot be found.
    """
    run = Run(path)
    made_with = run.recipe if run.settings_file.is_file() else {}
    if not config.revision and made_with.get("encoder") == config.encoder:
        revision = made_with.get("revision", "")  # which asks no hub: a finished run needs none
    else:
        revision = pin_revision(config.encoder, config.revision)
    return config.model_copy(update={"revision": revision})


def freeze_recipe(config: Recipe) -> dict[str, Any]:
    """The recipe as it is frozen: a local encoder by its full path."""
    recipe = config.frozen()
    prefix = FROZEN if config.encoder.startswith(FROZEN) else ""
    name = config.encoder.removeprefix(FROZEN)
    folder = Path(name).expanduser()
    if name not in (EMBEDDED, TFIDF) and folder.is_dir():
        recipe["encoder"] = prefix + str(folder.resolve())
    member = _name_member(config).get("member")
    return {k: v for k, v in recipe.items() if member is None or k in _FIELDS[member]}


def _name_member(config: Recipe) -> dict[str, str]:
    """The setting that says what gives a run's probabilities; none for an encoder."""
    if config.encoder.startswith(FROZEN):
        return {"member": "frozen"}
    return {"member": "linear"} if config.encoder == TFIDF else {}
