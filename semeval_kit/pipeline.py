"""The stages of a run, in order: prepare, train, probs, tune, pack, score.

Each stage reads what the ones before it wrote, skips what is finished, and can be called again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.competition.examples import Examples, find_file, normalize_text
from semeval_kit.competition.score import Score
from semeval_kit.competition.scorer import score_submission
from semeval_kit.competition.submission import pack_submission, write_predictions
from semeval_kit.competition.targets import encode_labels, target_names
from semeval_kit.competition.task import Task, load_task, read_task_source
from semeval_kit.decision.decode import decode_probs
from semeval_kit.decision.drift import measure_drift
from semeval_kit.decision.ensemble import mean_probs
from semeval_kit.decision.estimate import estimate_score
from semeval_kit.decision.intensity import join_levels
from semeval_kit.decision.rules import Thresholds
from semeval_kit.decision.tuning import tune_rule
from semeval_kit.errors import KitError
from semeval_kit.run import (
    Probs,
    Run,
    hold_lock,
    read_json,
    read_probs,
    remove_leftovers,
    remove_tree,
    write_json,
    write_probs,
)
from semeval_kit.training.config import TrainConfig
from semeval_kit.training.fanout import run_folds
from semeval_kit.training.folds import assign_folds, assign_holdout, scarce_labels
from semeval_kit.training.machine import Slots, describe_machine, describe_versions, plan_slots
from semeval_kit.training.source import weights_bytes

Say = Callable[[str], None]
SPLITS = ("dev", "test")
_SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """What a person asks for.

    Attributes:
        task: name or path of a task file.
        data: folder of the organisers' files.
        languages: to predict.
        config: the recipe with overrides.
        train_languages: to learn from; empty: those that are predicted, or for a cross-lingual
            task all others.
        train_splits: splits to learn from.
    """

    task: str
    data: Path
    languages: tuple[str, ...]
    config: TrainConfig
    train_languages: tuple[str, ...] = ()
    train_splits: tuple[str, ...] = ("train",)


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
    folds: tuple[int, ...] = field(default=())


def run_all(path: Path, plan: Plan, engine: Engine, gold: Path | None, say: Say) -> Run:
    """Do every stage: from the organisers' files to the zip, and the score where gold is known.

    Args:
        path: the run directory.
        plan: what is asked for; must be what an existing run was made with.
        engine: how it is computed.
        gold: reference labels of the test split, or None.
        say: is told what happens.

    Raises:
        KitError: a stage fails; what is finished is kept.
    """
    run = prepare(path, plan, say)
    with hold_lock(run.path):
        train(run, engine, say)
        predict(run, SPLITS, engine, say)
        tune(run, say)
        pack(run, say)
        score(run, gold, say)
    return run


def run_each_language(path: Path, plan: Plan, engine: Engine, gold: Path | None, say: Say) -> Run:
    """Do every stage with one run per language, and pack their predictions into one zip.

    Args:
        path: the directory of the whole; each language has an ordinary run inside.
        plan: what is asked for; a cross-lingual task learns each language from the others.
        engine: how it is computed.
        gold: reference labels of the test split, or None.
        say: is told what happens.

    Raises:
        KitError: a stage of a language fails; what is finished is kept.
    """
    task = load_task(plan.task)
    languages = task.check_languages(plan.languages)
    settings = {
        "task": task.name,
        "languages": list(languages),
        "train_languages": list(plan.train_languages),
        "train_splits": list(plan.train_splits),
        "data": str(plan.data.expanduser().resolve()),
        "per_language": True,
        "seed": plan.config.seed,
        **_moment(path),
    }
    _, text = read_task_source(plan.task)
    whole = Run.create(path, task_text=text, recipe=_portable(plan.config), settings=settings)
    files = {}

    def learnt_from(language: str) -> tuple[str, ...]:
        unseen = [g for g in plan.train_languages if not task.cross_lingual or g != language]
        if plan.train_languages and not unseen:
            raise KitError(
                f"task {task.name} is cross-lingual: {language} cannot be learnt from "
                f"{language}. Name more --train-langs."
            )
        return tuple(unseen)

    with hold_lock(whole.path):
        for language in languages:
            say(f"{language}:")
            own = replace(plan, languages=(language,), train_languages=learnt_from(language))
            part = run_all(whole.language_dir(language), own, engine, gold, say)
            if part.pred_file("test", language).is_file():
                files[language] = part.pred_file("test", language)
        if files:
            data = settings["data"]
            pack_submission(task, files, whole.zip_file, data, data=data)
            score(whole, gold, say)
    return whole


def prepare(path: Path, plan: Plan, say: Say) -> Run:
    """Read and check the data, make the folds and freeze the run.

    Args:
        path: the run directory.
        plan: what is asked for.
        say: is told notes of reading and warnings.

    Raises:
        KitError: the data has errors, languages overlap where they must not, or the directory
            holds another run.
    """
    task = load_task(plan.task)
    languages = task.check_languages(plan.languages)
    train_languages = _choose_train_languages(task, languages, plan.train_languages)
    data = plan.data.expanduser().resolve()
    splits = plan.train_splits
    if plan.config.holdout_split and plan.config.holdout_split not in splits:
        splits = (*splits, plan.config.holdout_split)
    settings: dict[str, Any] = {
        "task": task.name,
        "languages": list(languages),
        "train_languages": list(train_languages),
        "train_splits": list(splits),
        "data": str(data),
        "data_sha256": _hash_files(task, data, splits, train_languages),
        "seed": plan.config.seed,
        **_moment(path),
    }
    recipe = _portable(plan.config)
    _, text = read_task_source(plan.task)
    run = Run.create(path, task_text=text, recipe=recipe, settings=settings)
    if run.folds_file.is_file():
        return run
    task = run.task
    examples = run.read_train()
    for note in examples.notes:
        say(note)
    _warn_of_unlearnt_labels(task, examples, say)
    _warn_of_overlap(run, examples, say)
    targets = encode_labels(task, examples.labels)
    folds = _assign(examples, targets, plan.config)
    if run.n_folds > 1:
        for warning in scarce_labels(targets, target_names(task), plan.config.folds):
            say(f"warning: {warning}")
    run.write_folds(examples.ids, examples.languages, folds.tolist())
    held_out = int((folds >= 0).sum())
    say(
        f"{run.path}: {len(examples)} rows in {', '.join(train_languages)}; "
        + (f"{run.n_folds} folds" if run.n_folds > 1 else f"{held_out} of them held out")
    )
    return run


def train(run: Run, engine: Engine, say: Say) -> None:
    """Train the folds that are not finished.

    Args:
        run: a prepared run.
        engine: how.
        say: is told an epoch at a time.

    Raises:
        KitError: a fold fails; finished folds and checkpoints are kept.
    """
    _require_same_data(run)
    _clear_leftovers(run)
    wanted = engine.folds or tuple(range(run.n_folds))
    if not set(wanted) <= set(range(run.n_folds)):
        raise KitError(f"{run.path}: has folds 0 to {run.n_folds - 1}, you ask for {wanted}.")
    todo = [fold for fold in wanted if not run.is_done(fold)]
    if not todo:
        return
    slots = _slots(run, engine)
    say(
        f"training folds {', '.join(map(str, todo))} of {run.n_folds}: "
        f"{slots.jobs} at a time, {slots.threads} threads each"
    )
    run_folds(run, "train", todo, slots, processes=engine.processes, say=say)


def predict(run: Run, splits: Sequence[str], engine: Engine, say: Say) -> tuple[str, ...]:
    """Write the fold-mean probabilities of splits whose files are there.

    Args:
        run: a trained run.
        splits: of dev and test.
        engine: how.
        say: is told when a split is not there, or was learnt from.

    Returns:
        The splits that have been predicted.

    Raises:
        KitError: a fold is not finished, or a file of a split has errors.
    """
    for fold in range(run.n_folds):
        run.read_done(fold)
    wanted = {split: run.read_split(split) for split in splits if _can_predict(run, split, say)}
    todo = []
    for split in wanted:
        _drop_stale_probs(run, split)
        todo += [f for f in range(run.n_folds) if not run.fold_probs_file(f, split).is_file()]
    if todo:
        rows = ", ".join(f"{len(examples)} {split}" for split, examples in wanted.items())
        say(f"predicting {rows} rows with {len(set(todo))} models")
        extra = [word for split in wanted for word in ("--split", split)]
        run_folds(run, "predict", sorted(set(todo)), _slots(run, engine), extra=extra, say=say)
    for split, examples in wanted.items():
        folds = [read_probs(run.fold_probs_file(f, split)) for f in range(run.n_folds)]
        mean = mean_probs([probs.values for probs in folds])
        whole = Probs(examples.ids, examples.languages, folds[0].target_names, mean)
        languages = np.asarray(examples.languages)
        for language in run.languages:
            rows_of_language = np.flatnonzero(languages == language)
            write_probs(run.probs_file(split, language), whole.take(rows_of_language))
    return tuple(wanted)


def tune(run: Run, say: Say) -> dict[str, Any]:
    """Tune thresholds on out-of-fold rows and estimate honestly what they will score.

    Args:
        run: a trained run.
        say: is told warnings.

    Returns:
        The estimate, as estimate.json holds it.
    """
    task = run.task
    oof = run.read_oof()
    examples, folds = oof_examples(run)
    targets = encode_labels(task, examples.labels)
    groups = [normalize_text(text) for text in examples.texts]
    common: dict[str, Any] = {
        "groups": groups,
        "seed": int(run.settings["seed"]),
        "n_levels": task.max_intensity,
    }
    names = oof.target_names
    rule = tune_rule(task.kind, oof.values, targets, oof.languages, names, folds=folds, **common)
    for warning in rule.warnings:
        say(f"warning: {warning}")
    scored = [label not in task.scoring.excluded_labels for label in task.all_labels]
    estimate = estimate_score(
        task.kind,
        oof.values,
        targets,
        oof.languages,
        names,
        folds,
        metric=task.scoring.metrics[0],
        scored=scored,
        best_epoch_on_valid=run.recipe["select_by"] != "last",
        **common,
    ).to_json()
    write_json(run.thresholds_file, rule.to_json())
    write_json(run.estimate_file, estimate)
    return estimate


def pack(run: Run, say: Say) -> Path | None:
    """Decode the probabilities, write the organisers' files and zip them.

    Args:
        run: a run with thresholds and test probabilities.
        say: is told warnings.

    Returns:
        The zip, read back and validated; None where the test files are not there.

    Raises:
        KitError: the thresholds are missing, the zip would be rejected, or a cross-lingual run
            has seen a language that it predicts.
    """
    _require_unseen(run)
    rule = Thresholds.from_json(read_json(run.thresholds_file))
    packed: dict[str, Path] = {}
    for split in SPLITS:
        if not all(run.probs_file(split, language).is_file() for language in run.languages):
            continue
        examples = run.read_split(split)
        preds = decode_split(run, rule, split, examples)
        languages = np.asarray(examples.languages)
        for language in run.languages:
            rows = np.flatnonzero(languages == language)
            path = run.pred_file(split, language)
            write_predictions(run.task, language, examples.take(rows), preds[rows], path)
            if split == "test":
                packed[language] = path
        if split == "test":
            _tell_drift(run, rule, examples, preds, say)
    if not packed:
        say(f"{run.path}: no test predictions, so there is no zip yet")
        return None
    data = run.settings["data"]
    return pack_submission(run.task, packed, run.zip_file, data, data=data)


def decode_split(run: Run, rule: Thresholds, split: str, examples: Examples) -> Any:
    """Decide the labels of a split: integers `(n_examples, n_labels)` in the order of examples."""
    parts = {language: run.read_probs(split, language) for language in run.languages}
    for language, probs in parts.items():
        own = tuple(
            i for i, g in zip(examples.ids, examples.languages, strict=True) if g == language
        )
        if probs.ids != own:
            raise KitError(
                f"{run.probs_file(split, language)}: its ids are not those of the {split} file "
                "any more. Run `semeval-kit probs` again."
            )
    values = np.concatenate([parts[g].values for g in dict.fromkeys(examples.languages)])
    task = run.task
    return decode_probs(task.kind, values, rule, list(examples.languages), task.max_intensity)


def score(run: Run, gold: Path | None, say: Say) -> Score | None:
    """Score the zip as the organisers would, where reference labels are known.

    Args:
        run: a run with a zip.
        gold: file or folder; None: where the task says that gold lies, if it is there.
        say: is told when there is nothing to score with.
    """
    if not run.zip_file.is_file():
        return None
    place = gold or _find_gold(run)
    if place is None:
        return None
    result = score_submission(run.task, run.zip_file, place)
    write_json(run.score_file, {"gold": str(place), **result.to_json()})
    return result


def present(run: Run, say: Say) -> None:
    """Write the report and the model card of a run, or of each language's run inside it.

    Args:
        run: a finished run.
        say: is told what is written, or what is missing for it.
    """
    if run.settings.get("per_language"):
        for language in run.languages:
            present(Run.open(run.language_dir(language)), say)
        return
    try:
        from semeval_kit.analysis.card import write_card
        from semeval_kit.analysis.report import write_report

        write_card(run)
        write_report(run)
    except ImportError as error:
        say(
            f"no report: {error.name} is not installed. "
            "Run `pip install 'semeval-kit[analysis]'`, then `semeval-kit report`."
        )


def oof_examples(run: Run) -> tuple[Examples, Any]:
    """The examples of the out-of-fold rows, in the order of `run.read_oof()`, and their folds."""
    examples = run.read_train()
    fold_of = run.read_folds()
    keys = list(zip(examples.languages, examples.ids, strict=True))
    if keys != list(fold_of):
        raise KitError(
            f"{run.folds_file}: its rows are not those of the training files. The data has "
            "changed since the run was made; start a new run."
        )
    folds = np.array([fold_of[key] for key in keys])
    held_out = np.flatnonzero(folds >= 0)
    return examples.take(held_out), folds[held_out]


def _can_predict(run: Run, split: str, say: Say) -> bool:
    data = run.settings["data"]
    if split in run.settings["train_splits"]:
        say(f"{split} was learnt from: it is not predicted")
        return False
    missing = [g for g in run.languages if find_file(run.task, data, split, g) is None]
    if missing:
        say(f"no {split} file for {', '.join(missing)} in {data}: {split} is not predicted")
    return not missing


def _drop_stale_probs(run: Run, split: str) -> None:
    """Remove probabilities of files that were others, or that nobody knows."""
    hashes = _hash_files(run.task, Path(run.settings["data"]), (split,), run.languages)
    if not run.source_file(split).is_file() or read_json(run.source_file(split)) != hashes:
        for fold in range(run.n_folds):
            run.fold_probs_file(fold, split).unlink(missing_ok=True)
        write_json(run.source_file(split), hashes)


def _assign(examples: Examples, targets: Any, config: TrainConfig) -> Any:
    """Fold numbers `(n_examples,)`; -1 for rows that every model learns from."""
    if config.holdout_split:
        held_out = [id_.startswith(f"{config.holdout_split}:") for id_ in examples.ids]
        return np.where(held_out, 0, -1)
    if config.holdout:
        return assign_holdout(
            examples.texts, targets, examples.languages, config.holdout, config.seed
        )
    return assign_folds(examples.texts, targets, examples.languages, config.folds, config.seed)


def _choose_train_languages(
    task: Task, languages: Sequence[str], asked: Sequence[str]
) -> tuple[str, ...]:
    if asked:
        chosen = tuple(asked)
        unknown = [g for g in chosen if g not in task.train_languages]
        if unknown:
            raise KitError(
                f"no training language {', '.join(unknown)} in task {task.name}. "
                f"It has: {', '.join(task.train_languages)}."
            )
    elif task.cross_lingual:
        chosen = tuple(g for g in task.train_languages if g not in languages)
    else:
        chosen = tuple(languages)
    both = [g for g in chosen if g in languages]
    if task.cross_lingual and both:
        raise KitError(
            f"task {task.name} is cross-lingual: {', '.join(both)} would be both learnt from and "
            "predicted. Choose other --train-langs, or predict fewer languages in one run."
        )
    if not chosen:
        raise KitError(
            f"task {task.name}: no training language is left. Predict fewer languages in one run "
            "(--per-language), or name --train-langs."
        )
    unable = [g for g in chosen if g not in task.train_languages]
    if unable:
        raise KitError(
            f"task {task.name} has no training files for {', '.join(unable)}. "
            "Leave them out of --langs, or name --train-langs."
        )
    return chosen


def _require_unseen(run: Run) -> None:
    """Prove from the run's files that a cross-lingual run saw no language that it predicts."""
    if not run.task.cross_lingual:
        return
    seen = {language for language, _ in run.read_folds()}
    both = sorted(seen & set(run.languages))
    if both:
        raise KitError(
            f"{run.folds_file}: holds rows of {', '.join(both)}, which the run predicts; "
            f"task {run.task.name} forbids that. No zip is made; start a run without them."
        )


def _hash_files(
    task: Task, data: Path, splits: Sequence[str], languages: Sequence[str]
) -> dict[str, str]:
    hashes = {}
    for split in splits:
        for language in languages:
            path = find_file(task, data, split, language)
            if path is not None:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                hashes[path.relative_to(data).as_posix()] = digest
    return hashes


def _require_same_data(run: Run) -> None:
    settings = run.settings
    now = _hash_files(
        run.task, Path(settings["data"]), settings["train_splits"], settings["train_languages"]
    )
    changed = sorted(
        name for name, digest in settings["data_sha256"].items() if now.get(name) != digest
    )
    if changed:
        raise KitError(
            f"{settings['data']}: changed since the run was made: {', '.join(changed)}. "
            "Put the old files back, or start a new run."
        )


def _clear_leftovers(run: Run) -> None:
    """Remove what a kill left behind: half-written files, and checkpoints of finished folds."""
    for folder in (run.path, *(run.path / split for split in SPLITS)):
        remove_leftovers(folder)
    for fold in range(run.n_folds):
        if run.is_done(fold):
            remove_leftovers(run.fold_dir(fold))
            remove_tree(run.checkpoint_dir(fold))
            run.log_file(fold).unlink(missing_ok=True)


def _moment(path: Path) -> dict[str, Any]:
    """Settings that tell where and when a run was made, and may differ when it goes on."""
    return {
        "name": path.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": describe_versions(),
        "machine": describe_machine(),
    }


def _portable(config: TrainConfig) -> dict[str, Any]:
    """The recipe as it is frozen: a local encoder by its full path."""
    recipe = config.model_dump()
    folder = Path(config.encoder).expanduser()
    if config.encoder != "embedded" and folder.is_dir():
        recipe["encoder"] = str(folder.resolve())
    return recipe


def _slots(run: Run, engine: Engine) -> Slots:
    """Laid out for all folds, so that going on with the last one uses as many threads as before.

    The number of threads decides the last bits of the results.
    """
    size = weights_bytes(str(run.recipe["encoder"]))
    return plan_slots(run.n_folds, engine.jobs, engine.threads, size)


def _warn_of_unlearnt_labels(task: Task, examples: Examples, say: Say) -> None:
    learnt = {
        label
        for column, label in enumerate(examples.label_names)
        if np.nansum(examples.labels[:, column]) > 0
    }
    for language in task.predict_languages:
        missing = [label for label in task.labels_for(language) if label not in learnt]
        if missing:
            say(
                f"warning: {language} has {', '.join(missing)}, but no training row is positive "
                "for it: it will never be predicted. Add a training language that has it."
            )


def _warn_of_overlap(run: Run, examples: Examples, say: Say) -> None:
    learnt = {normalize_text(text) for text in examples.texts}
    for split in SPLITS:
        if split in run.settings["train_splits"]:
            continue
        if any(find_file(run.task, run.settings["data"], split, g) is None for g in run.languages):
            continue
        other = run.read_split(split)
        shared = [
            id_
            for id_, text in zip(other.ids, other.texts, strict=True)
            if normalize_text(text) in learnt
        ]
        if shared:
            more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
            say(
                f"warning: {len(shared)} of {len(other)} {split} texts are also training texts: "
                f"{', '.join(shared[:_SHOWN])}{more}. Figures on {split} are that much optimistic."
            )


def _tell_drift(run: Run, rule: Thresholds, examples: Examples, preds: Any, say: Say) -> None:
    task, oof = run.task, run.read_oof()
    gold_examples, _ = oof_examples(run)
    targets = encode_labels(task, gold_examples.labels)
    gold = join_levels(targets, task.max_intensity) if task.kind == "intensity" else targets
    answers = decode_probs(task.kind, oof.values, rule, oof.languages, task.max_intensity)
    for drift in measure_drift(
        gold,
        answers,
        list(oof.languages),
        preds,
        examples.languages,
        task.all_labels,
    ):
        if drift.notable:
            say(
                f"warning: {drift.language} '{drift.label}': {drift.oof_rate:.1%} of the "
                f"out-of-fold rows are positive, but {drift.test_rate:.1%} of the test rows."
            )


def _find_gold(run: Run) -> Path | None:
    files = [
        find_file(run.task, run.settings["data"], "gold", language) for language in run.languages
    ]
    found = [path for path in files if path is not None]
    return found[0].parent if found else None
