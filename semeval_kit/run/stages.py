"""The stages of a run by name, and all of them in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semeval_kit.errors import KitError, MissingExtraError
from semeval_kit.run.compute import predict, train
from semeval_kit.run.decide import decode_split, pack, pack_files, score, spell_soft_labels
from semeval_kit.run.directory import Run, hold_lock, remove_tree
from semeval_kit.run.frozen import Frozen
from semeval_kit.run.judge import oof_examples, tune
from semeval_kit.run.plan import (
    NEW_SPLITS,
    Engine,
    Plan,
    Say,
    freeze_recipe,
    pin_encoder,
    spell_settings,
)
from semeval_kit.run.prepare import move_run, prepare, require_same_data
from semeval_kit.task.task import Task, load_task, read_task_source

__all__ = [
    "NEW_SPLITS",
    "Engine",
    "Plan",
    "Say",
    "decode_split",
    "move_run",
    "oof_examples",
    "pack",
    "predict",
    "prepare",
    "present",
    "require_same_data",
    "run_all",
    "run_each_language",
    "score",
    "spell_soft_labels",
    "train",
    "tune",
]


def run_all(path: Path, plan: Plan, engine: Engine, gold: Path | None, say: Say) -> Run:
    """Do every stage: from the organisers' files to the zip, and the score where gold is known.

    Raises:
        KitError: a stage fails; what is finished is kept.
    """
    run = prepare(path, plan, say)
    with hold_lock(run.path):
        train(run, engine, say, NEW_SPLITS)
        predict(run, NEW_SPLITS, engine, say)
        tune(run, say)
        pack(run, say)
        score(run, gold, say)
        if plan.before:
            _measure_before(run, plan, engine, say)
    return run


def run_each_language(path: Path, plan: Plan, engine: Engine, gold: Path | None, say: Say) -> Run:
    """Do every stage with one run per language, and pack their predictions into one zip.

    Raises:
        KitError: a stage of a language fails; what is finished is kept.
    """
    task = load_task(plan.task)
    languages = task.check_languages(plan.languages)
    plan = replace(plan, config=pin_encoder(path, plan.config))
    plans = {g: replace(plan, languages=(g,), train_languages=()) for g in languages}
    if plan.train_languages:
        plans = {g: replace(p, train_languages=_unseen(task, plan, g)) for g, p in plans.items()}
    words = {
        "languages": languages,
        "train_languages": plan.train_languages,
        "train_splits": plan.train_splits,
    }
    data, seed = plan.data.expanduser().resolve(), plan.config.seed
    settings = spell_settings(path, task, data, words, per_language=True, seed=seed)
    asked = Frozen(read_task_source(plan.task)[1], freeze_recipe(plan.config), settings)
    if not Run(path).goes_on_with(asked):
        for language in languages:  # all is read and checked before any of it is trained
            prepare(Run(path).language_dir(language), plans[language], say)
    whole = Run.create(path, asked)
    files = {}
    with hold_lock(whole.path):
        for language in languages:
            say(f"{language}:")
            part = run_all(whole.language_dir(language), plans[language], engine, gold, say)
            if part.pred_file("test", language).is_file():
                files[language] = part.pred_file("test", language)
        if files:
            pack_files(whole, files, say)
            score(whole, gold, say)
    return whole


def present(run: Run, say: Say) -> None:
    """Write the report and the model card of a run, or of each language's run inside it."""
    if run.settings.get("per_language"):
        for language in run.languages:
            present(Run.open(run.language_dir(language)), say)
        return
    from semeval_kit.show.card import write_card
    from semeval_kit.show.report import write_report

    try:
        write_card(run)
        write_report(run)
    except MissingExtraError as error:
        say(f"no report: {error.message}, then run `semeval-kit report {run.path}`")


def _unseen(task: Task, plan: Plan, language: str) -> tuple[str, ...]:
    """The named training languages; for a cross-lingual task without the one to be predicted."""
    unseen = tuple(g for g in plan.train_languages if not task.cross_lingual or g != language)
    if not unseen:
        raise KitError(
            f"task {task.name} is cross-lingual: {language} cannot be learnt from "
            f"{language}. Name more --train-langs."
        )
    return unseen


def _measure_before(run: Run, plan: Plan, engine: Engine, say: Say) -> None:
    """A run inside the run: the same encoder on the same folds without any training."""
    say("the encoder before fine-tuning:")
    untrained = {"epochs": 0, "revision": run.recipe["revision"]}
    config = plan.config.model_copy(update=untrained)
    # What there is to say of the data was said.
    before = prepare(run.before_dir, replace(plan, config=config), lambda _: None)
    train(before, engine, say)
    tune(before, say)
    for fold in range(before.n_models):
        remove_tree(before.model_dir(fold))  # the encoder as it came, at its full size
