"""The stages of a run: all of them in their order, and each by its name.

`prepare` and `tune` have modules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples, hash_files
from semeval_kit.data.extra import write_soft
from semeval_kit.decision.targets import Rules, decide_labels, rules_from_json
from semeval_kit.errors import KitError, MissingExtraError
from semeval_kit.files import (
    hold_lock,
    keep_files,
    read_json,
    remove_kept,
    remove_leftovers,
    remove_tree,
    sha256_file,
    write_json,
)
from semeval_kit.plurals import count_noun
from semeval_kit.probs import Probs, mean_probs
from semeval_kit.run.directory import NEW_SPLITS, Run
from semeval_kit.run.judge import oof_examples, tune
from semeval_kit.run.layout import Frozen
from semeval_kit.run.plan import Engine, Plan, Say, freeze_recipe, pin_encoder, spell_settings
from semeval_kit.run.prepare import move_run, prepare, require_same_data, require_same_encoder
from semeval_kit.submission.pack import pack_submission, write_predictions
from semeval_kit.submission.score import Score, score_submission
from semeval_kit.task.task import Task, load_task, read_task_source
from semeval_kit.training.fanout import run_folds
from semeval_kit.training.machine import Slots, plan_slots
from semeval_kit.training.source import weights_bytes

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


def train(run: Run, engine: Engine, say: Say, splits: Sequence[str] = ()) -> None:
    """Train the folds that are not finished.

    Raises:
        KitError: a fold fails; finished folds and checkpoints are kept.
    """
    if not engine.folds:  # else other folds may be at work
        _clear_leftovers(run)
    if not set(engine.folds) <= set(range(run.n_folds)):
        raise KitError(f"{run.path}: has folds 0 to {run.n_folds - 1}, you ask for {engine.folds}.")
    wanted = [model for fold in engine.folds for model in run.list_models(fold)]
    todo = [model for model in wanted or range(run.n_models) if not run.is_done(model)]
    if not todo:
        return
    for seed in range(1, run.n_models // run.n_folds):
        keep_files(run.seed_dir(seed))
    require_same_encoder(run)
    slots = _slots(run, engine)
    say(f"training {describe_folds(run, todo)}: {slots}")
    possible = _keep_splits(run, splits, lambda _: None)
    run_folds(
        run,
        slots,
        train=todo,
        predict=_folds_to_predict(run, tuple(possible)),
        splits=tuple(possible),
        say=say,
    )


def predict(run: Run, splits: Sequence[str], engine: Engine, say: Say) -> tuple[str, ...]:
    """Write the fold-mean probabilities of splits whose files are there.

    Returns:
        The splits that have been predicted.

    Raises:
        KitError: a fold is not finished, or a file of a split has errors.
    """
    for fold in range(run.n_models):
        run.read_done(fold)
    wanted = _keep_splits(run, splits, say)
    todo = _folds_to_predict(run, tuple(wanted))
    if todo:
        rows = ", ".join(
            count_noun(len(examples), f"{split} row") for split, examples in wanted.items()
        )
        say(f"predicting {rows} with {count_noun(len(todo), 'model')}")
        run_folds(run, _slots(run, engine), predict=todo, splits=tuple(wanted), say=say)
    for split, examples in wanted.items():
        whole = mean_probs([run.read_fold_probs(fold, split) for fold in range(run.n_folds)])
        if (whole.ids, whole.languages) != (examples.ids, examples.languages):
            raise KitError(
                f"{run.path}: the folds' probabilities of {split} are of other rows. "
                f"Remove fold-*/probs_{split}.csv and run the same command again."
            )
        run.write_split(split, whole)
    return tuple(wanted)


def pack(run: Run, say: Say) -> Path | None:
    """Decode the probabilities, write the organisers' files and zip them.

    Returns:
        The zip, read back and validated; None where the test files are not there.

    Raises:
        KitError: the thresholds are missing, the zip would be rejected, or a cross-lingual run
            has seen a language that it predicts.
    """
    _require_unseen(run)
    rules = rules_from_json(run.task, read_json(run.thresholds_file))
    packed: dict[str, Path] = {}
    for split in NEW_SPLITS:
        if not all(run.probs_file(split, language).is_file() for language in run.languages):
            continue
        examples = run.read_split(split)
        preds = decode_split(run, rules, split, examples)
        languages = np.asarray(examples.languages)
        for language in run.languages:
            rows = np.flatnonzero(languages == language)
            path = run.pred_file(split, language)
            write_predictions(run.task, language, examples.take(rows), preds[rows], path)
            if split == "test":
                packed[language] = path
    if not packed:
        say(f"{run.path}: no test predictions, so there is no zip yet")
        return None
    return pack_files(run, packed, say)


def pack_files(run: Run, files: Mapping[str, Path], say: Say) -> Path:
    """Zip prediction files, {language: path}, and tell what is odd about them.

    Raises:
        KitError: the zip would be rejected.
    """
    data = run.data
    checked = pack_submission(run.task, files, run.zip_file, data, data=data)
    scored_zip = read_json(run.score_file).get("zip_sha256") if run.score_file.is_file() else None
    if scored_zip != sha256_file(run.zip_file):
        remove_kept(run.score_file)  # it is the score of another zip
    for warning in checked.warnings:
        if warning != checked.missing_note:  # the run's languages were asked for
            say(f"warning: {warning}")
    return Path(run.zip_file)


def score(run: Run, gold: Path | None, say: Say) -> Score | None:
    """Score the zip as the organisers would, where reference labels are known."""
    place = run.find_gold(gold)
    if place is None or not run.zip_file.is_file():
        return None
    result = score_submission(run.task, run.zip_file, place)
    stored = {"gold": str(place), "zip_sha256": sha256_file(run.zip_file), **result.to_json()}
    write_json(run.score_file, stored)
    return result


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


def decode_split(run: Run, rules: Rules, split: str, examples: Examples) -> Any:
    """Decide the labels of a split, `(n_examples, n_labels)` in the order of examples."""
    parts = {language: run.read_probs(split, language) for language in run.languages}
    for language, probs in parts.items():
        ids = tuple(
            i for i, g in zip(examples.ids, examples.languages, strict=True) if g == language
        )
        if probs.ids != ids:
            raise KitError(
                f"{run.probs_file(split, language)}: its ids are not those of the {split} file "
                "any more. Run `semeval-kit probs` again."
            )
    values = np.concatenate([parts[g].values for g in dict.fromkeys(examples.languages)])
    return decide_labels(run.task, rules, values, examples.languages)


def spell_soft_labels(run: Run, split: str, sure: float = 0.0) -> tuple[str, int, int]:
    """Probabilities of a split as a file of extra rows.

    Args:
        run: whose probabilities of the split are there.
        split: dev or test.
        sure: rows are kept whose least certain target is at least so certain, max(p, 1 - p); of
            single labels, whose most probable one is so probable.

    Returns:
        The CSV, the number of its rows, and that of the split's.

    Raises:
        KitError: the split has not been predicted, or no row is sure enough.
    """
    examples = run.read_split(split)
    whole = Probs.concat([run.read_probs(split, language) for language in run.languages])
    probs = whole.order(examples.keys).values
    certain = np.maximum(probs, 1 - probs).min(axis=1)
    if run.task.kind == "singlelabel":
        certain = probs.max(axis=1)
    kept = np.flatnonzero(certain >= sure) if sure else np.arange(len(examples))
    if not len(kept):
        raise KitError(
            f"{run.path}: no row of {split} is {sure:g} certain; the most certain one is "
            f"{certain.max():.3f}. Lower --sure."
        )
    return write_soft(run.task, examples.take(kept), probs[kept]), len(kept), len(examples)


def describe_folds(run: Run, folds: Sequence[int]) -> str:
    """Which models are meant: "folds 0, 3 of 5", or "one model, dev held out"."""
    if run.n_models == 1:
        return f"one model, {run.scheme}"
    if run.n_models > run.n_folds:
        return f"{len(folds)} of {run.n_models} models, {run.scheme}, {run.recipe['seeds']} seeds"
    return f"folds {', '.join(map(str, folds))} of {run.n_folds}"


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


def _require_unseen(run: Run) -> None:
    """Prove from the run's files that a cross-lingual run saw no language that it predicts."""
    if not run.task.cross_lingual:
        return
    seen = {language for language, _ in run.read_folds()} | set(run.settings["train_languages"])
    both = sorted(seen & set(run.languages))
    if both:
        raise KitError(
            f"{run.folds_file}: holds rows of {', '.join(both)}, which the run predicts; "
            f"task {run.task.name} forbids that. No zip is made; start a run without them."
        )


def _keep_splits(run: Run, splits: Sequence[str], say: Say) -> dict[str, Examples]:
    """Read the splits that can be predicted, once, and keep their rows in the run.

    Where the files are others than before, what was predicted of them is removed.
    """
    kept = {}
    for split in splits:
        if not _can_predict(run, split, say):
            continue
        hashes = hash_files(run.task, run.data, (split,), run.languages)
        source = run.source_file(split)
        before = read_json(source) if source.is_file() else {}
        if not hashes:
            kept[split] = run.read_split(split)
            continue
        if list(before.values()) != list(hashes.values()):
            for fold in range(run.n_models):
                remove_kept(run.fold_probs_file(fold, split))
            remove_kept(run.split_rows_file(split))
        if not run.split_rows_file(split).is_file():
            remove_kept(run.split_rows_file(split))
            run.keep_split(split, run.read_split(split), hashes)
        kept[split] = run.read_split(split)
    return kept


def _folds_to_predict(run: Run, splits: Sequence[str]) -> list[int]:
    """Folds that have not predicted all of the splits."""
    return [
        fold
        for fold in range(run.n_models)
        if not all(run.fold_probs_file(fold, split).is_file() for split in splits)
    ]


def _can_predict(run: Run, split: str, say: Say) -> bool:
    if split == run.held_out_split:
        say(f"{split} is held out: its rows are the out-of-fold rows")
        return False
    if split in run.learnt_splits:
        say(f"{split} was learnt from: it is not predicted")
        return False
    missing = [g for g in run.languages if run.find_file(split, g) is None]
    if len(missing) == len(run.languages) and run.split_rows_file(split).is_file():
        return True  # on another machine, perhaps: the run keeps the rows
    if missing:
        say(f"no {split} file for {', '.join(missing)} in {run.data}: {split} is not predicted")
    return not missing


def _slots(run: Run, engine: Engine) -> Slots:
    """Laid out for all folds, so that going on with the last one uses as many threads as before.

    The number of threads decides the last bits of the results.
    """
    try:
        size = weights_bytes(str(run.recipe["encoder"]))
    except KitError:  # it lies elsewhere, and predicting needs it no more
        size = weights_bytes(str(run.model_dir(0)))
    return plan_slots(run.n_models, engine.jobs, engine.threads, size, engine.processes)


def _clear_leftovers(run: Run) -> None:
    """Remove what a kill left behind: half-written files, and checkpoints of finished folds."""
    for folder in (run.path, *(run.path / split for split in NEW_SPLITS)):
        remove_leftovers(folder)
    for fold in range(run.n_models):
        if run.is_done(fold):
            remove_leftovers(run.fold_dir(fold))
            remove_tree(run.checkpoint_dir(fold))
            run.log_file(fold).unlink(missing_ok=True)
