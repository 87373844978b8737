"""The stages that need no model: thresholds, estimate, predictions, zip and score."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import number_groups
from semeval_kit.decision.drift import measure_drift
from semeval_kit.decision.estimate import Judging, estimate_score
from semeval_kit.decision.oof import OofAnswers, OofRows, write_oof_answers
from semeval_kit.decision.rule import NUMERIC, Thresholds
from semeval_kit.decision.targets import (
    Rules,
    answers_of_probs,
    decide_labels,
    rules_from_json,
    rules_to_json,
)
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import tune_rule
from semeval_kit.errors import KitError
from semeval_kit.files import remove_kept
from semeval_kit.run.directory import Probs, Run, read_json, write_json
from semeval_kit.run.plan import SPLITS, Say
from semeval_kit.submission.metrics import METRICS, Beside, pair_swapped
from semeval_kit.submission.pack import pack_submission, write_predictions
from semeval_kit.submission.score import Score, score_submission
from semeval_kit.task.codec import column_names, decode_targets, encode_labels
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.schema import Target
from semeval_kit.task.task import Task


def tune(run: Run, say: Say) -> dict[str, Any]:
    """Tune thresholds on out-of-fold rows and estimate honestly what they will score.

    Args:
        run: a trained run.
        say: is told warnings.

    Returns:
        The estimate, as estimate.json holds it.
    """
    task, oof = run.task, run.read_oof()
    examples, folds = oof_examples(run)
    rules, judged = {}, {}
    for target in task.main_targets:
        rows = _target_rows(task, target, oof, examples, folds)
        tuning = _plan_tuning(run, target)
        rules[target.name] = tune_rule(rows, tuning)
        judging = _plan_judging(run, target, examples)
        judged[target.name] = estimate_score(rows, tuning, judging)
        for warning in rules[target.name].warnings:
            say(f"warning: {warning}")
    answers = OofAnswers(
        ids=oof.ids,
        languages=oof.languages,
        labels=tuple(name for target in task.main_targets for name in target.label_names),
        half=np.concatenate([found.half for found in judged.values()], axis=1),
        tuned=np.concatenate([found.tuned for found in judged.values()], axis=1),
    )
    # The figures of the first target stand at the top: a task of one target has no others.
    figures = {name: found.to_json() for name, found in judged.items()}
    estimate = dict(figures.pop(task.main_targets[0].name))
    if figures:
        estimate["targets"] = figures
    # What was judged is kept beside its figures: no page decides it again.
    estimate["answers_sha256"] = write_oof_answers(run.oof_answers_file, answers)
    write_json(run.thresholds_file, rules_to_json(rules))
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
    rules = read_rules(run)
    packed: dict[str, Path] = {}
    for split in SPLITS:
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
        if split == "test":
            _tell_drift(run, rules, examples, preds, say)
    if not packed:
        say(f"{run.path}: no test predictions, so there is no zip yet")
        return None
    return pack_files(run, packed, say)


def pack_files(run: Run, files: Mapping[str, Path], say: Say) -> Path:
    """Zip prediction files, {language: path}, and tell what is odd about them.

    Args:
        run: whose zip it is.
        files: in the organisers' layout.
        say: is told warnings, such as a label that is always or never predicted.

    Raises:
        KitError: the zip would be rejected.
    """
    data = run.data
    checked = pack_submission(run.task, files, run.zip_file, data, data=data)
    scored_zip = read_json(run.score_file).get("zip_sha256") if run.score_file.is_file() else None
    if scored_zip != _hash(run.zip_file):
        remove_kept(run.score_file)  # it is the score of another zip
    for warning in checked.warnings:
        say(f"warning: {warning}")
    return Path(run.zip_file)


def decode_split(run: Run, rules: Rules, split: str, examples: Examples) -> Any:
    """Decide the labels of a split, `(n_examples, n_labels)` in the order of examples."""
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
    return decide_labels(run.task, rules, values, examples.languages)


def score(run: Run, gold: Path | None, say: Say) -> Score | None:
    """Score the zip as the organisers would, where reference labels are known.

    Args:
        run: a run with a zip.
        gold: file or folder; None: see `Run.find_gold`.
        say: is told when there is nothing to score with.
    """
    place = run.find_gold(gold)
    if place is None or not run.zip_file.is_file():
        return None
    result = score_submission(run.task, run.zip_file, place)
    stored = {"gold": str(place), "zip_sha256": _hash(run.zip_file), **result.to_json()}
    write_json(run.score_file, stored)
    return result


def read_rules(run: Run) -> dict[str, Thresholds]:
    """The rule of each target that the run predicts.

    Raises:
        KitError: the run is not tuned.
    """
    return rules_from_json(run.task, read_json(run.thresholds_file))


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


def _plan_tuning(run: Run, target: Target) -> Tuning:
    return Tuning(target.kind, int(run.settings["seed"]), target.max_intensity)


def _plan_judging(run: Run, target: Target, examples: Examples) -> Judging:
    """The first metric that answers to this target can be scored by, and what it needs."""
    scoring = run.task.scoring
    fitting = (
        name
        for name in scoring.metrics
        if name in METRICS and target.kind in METRIC_FACTS[name].kinds
    )
    return Judging(
        metric=next(fitting, None),
        scored=tuple(label not in scoring.excluded_labels for label in target.labels),
        best_epoch_on_valid=run.recipe.get("select_by", "last") != "last",
        beside=_find_beside(run.task, target, examples),
    )


def _find_beside(task: Task, target: Target, examples: Examples) -> Beside:
    """What metrics need of out-of-fold rows: the spread of ratings, the row with texts swapped."""
    spreads = reverse = None
    if task.scoring.spread_column in examples.kept:
        cells = examples.kept[task.scoring.spread_column]
        spreads = np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    if task.rules.reversal and examples.pairs:
        keys = list(zip(examples.languages, number_groups(examples).tolist(), strict=True))
        reverse = pair_swapped(keys, examples.texts, examples.pairs)
    number = {label: i for i, label in enumerate(target.labels)}
    reversal = tuple(number.get(task.rules.reversal.get(label, ""), -1) for label in target.labels)
    return Beside(spreads, reverse, reversal)


def _target_rows(task: Task, target: Target, oof: Probs, examples: Examples, folds: Any) -> OofRows:
    """The out-of-fold rows of one target; of numbers, the numbers."""
    targets = encode_labels(task, examples.labels)[:, task.target_slices[target.name]]
    return OofRows.of(
        answers_of_probs(target, oof.values[:, task.target_slices[target.name]]),
        decode_targets(target, targets) if target.kind in NUMERIC else targets,
        oof.languages,
        column_names(target),
        groups=number_groups(examples),
        folds=folds,
    )


def _tell_drift(run: Run, rules: Rules, examples: Examples, preds: Any, say: Say) -> None:
    task, oof = run.task, run.read_oof()
    gold_examples, _ = oof_examples(run)
    answers = decide_labels(task, rules, oof.values, oof.languages)
    for target in task.main_targets:
        columns = task.label_slices[target.name]
        if target.kind in NUMERIC:
            continue
        for drift in measure_drift(
            gold_examples.labels[:, columns],
            answers[:, columns],
            oof.languages,
            preds[:, columns],
            examples.languages,
            target.label_names,
        ):
            if drift.notable:
                say(
                    f"warning: {drift.language} '{drift.label}': {drift.oof_rate:.1%} of the "
                    f"out-of-fold rows are positive, but {drift.test_rate:.1%} of the test rows."
                )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
