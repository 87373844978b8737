"""The stage that tunes: rules, what they answered out of fold, and what the upload will score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import number_groups
from semeval_kit.decision.averaging import NewRows, Upload
from semeval_kit.decision.estimate import Estimate, choose_metric, estimate_score, make_board
from semeval_kit.decision.expected import Expected, expect_score, read_labelled
from semeval_kit.decision.oof import OofAnswers, OofRows, write_oof_answers
from semeval_kit.decision.resampling import part_rows
from semeval_kit.decision.rule import Thresholds
from semeval_kit.decision.targets import answers_of_probs, rules_to_json
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import cross_fit, tune_rule
from semeval_kit.decision.verdict import Verdict, judge_run
from semeval_kit.errors import KitError
from semeval_kit.files import is_noted, write_json
from semeval_kit.plurals import count_noun
from semeval_kit.probs import Probs
from semeval_kit.run.directory import Run
from semeval_kit.run.plan import Say
from semeval_kit.show.answers import read_gold
from semeval_kit.submission.score import find_beside_rows
from semeval_kit.task.codec import column_names, decode_targets, encode_labels
from semeval_kit.task.schema import Target
from semeval_kit.task.task import Task

# The floor needs no final thresholds.
_FLOOR_BAGS = 10
# More rows than these make the floor no better known, only slower.
_MAX_ROWS = 20_000
_MAX_NGRAMS = 50_000
# More new rows than these foretell the gain of averaging no better.
_MAX_NEW_ROWS = 50_000


def tune(run: Run, say: Say) -> dict[str, Any]:
    """Tune a rule per target on out-of-fold rows and estimate honestly what it will score.

    Returns:
        The estimate, as estimate.json holds it.
    """
    task, oof = run.task, run.read_oof()
    examples, folds = oof_examples(run)
    new = _read_new_rows(run)
    rules, figures, half, tuned = {}, {}, [], []
    for target in task.main_targets:
        rows = target_rows(task, target, oof, examples, folds)
        rule, estimated, expected, told = _judge_target(run, target, rows, examples, new)
        rules[target.name], figures[target.name] = rule, told
        half.append(estimated.half)
        tuned.append(estimated.tuned)
        for warning in (*rule.warnings, *expected.warnings):
            say(f"warning: {warning}")
    answers = OofAnswers(
        ids=oof.ids,
        languages=oof.languages,
        labels=tuple(name for target in task.main_targets for name in target.label_names),
        half=np.concatenate(half, axis=1),
        tuned=np.concatenate(tuned, axis=1),
    )
    # The figures of the first target stand at the top: a task of one target has no others.
    estimate = dict(figures.pop(task.main_targets[0].name))
    if figures:
        estimate["targets"] = figures
    estimate["notes"] = [*estimate["notes"], *_describe_extra(run), *_describe_masked(run)]
    # What was judged is kept beside its figures: no page decides it again.
    estimate["answers_sha256"] = write_oof_answers(run.oof_answers_file, answers)
    write_json(run.thresholds_file, rules_to_json(rules))
    write_json(run.estimate_file, estimate)
    return estimate


def _describe_extra(run: Run) -> list[str]:
    """What has to be said of rows that every fold learnt beside those of the task."""
    extra = run.read_extra()
    if extra is None:
        return []
    soft = int(np.isnan(extra.examples.labels).all(axis=1).sum())
    counted = count_noun(len(extra), "extra row")
    sentences = [f"Every fold also learnt up to {counted}, {soft} with soft labels."]
    if soft:
        sentences.append(
            "If soft labels come from models that have learnt this task's rows, what is scored out "
            "of fold is too high."
        )
    if run.recipe.get("transductive"):
        sentences.append(
            "Texts of dev and test may be among the extra rows (transductive learning)."
        )
    return [" ".join(sentences)]


def _describe_masked(run: Run) -> list[str]:
    """What has to be said of texts that encoders read with masked tokens before the labels."""
    epochs = run.recipe.get("mlm_epochs")
    if not epochs:
        return []
    counts = [run.read_done(model)["mlm"]["texts"] for model in range(run.n_models)]
    texts = " to ".join(f"{n:,}" for n in sorted({min(counts), max(counts)}))
    times = "once" if epochs == 1 else f"{epochs} times"
    sentence = f"Before the labels each encoder read {texts} texts {times} with masked tokens"
    if run.recipe.get("transductive"):
        return [f"{sentence}, those of held-out rows, dev and test among them (transductive)."]
    return [f"{sentence}, none of rows that it is judged on."]


def oof_examples(run: Run) -> tuple[Examples, Any]:
    """The examples of the out-of-fold rows, in the order of `run.read_oof()`, and their folds."""
    examples = run.read_train()
    fold_of = run.read_folds()
    if examples.keys != tuple(fold_of):
        raise KitError(
            f"{run.folds_file}: its rows are not those of the training files. The data has "
            "changed since the run was made; start a new run."
        )
    folds = np.array(list(fold_of.values()))
    held_out = np.flatnonzero(folds >= 0)
    return examples.take(held_out), folds[held_out]


def _judge_target(
    run: Run, target: Target, rows: OofRows, examples: Examples, new: Sequence[NewRows]
) -> tuple[Thresholds, Estimate, Expected, dict[str, Any]]:
    """A target's rule, what is known of it, and all that as estimate.json holds it."""
    tuning = plan_tuning(run, target)
    rule = tune_rule(rows, tuning)
    on_valid = run.recipe.get("select_by", "last") != "last"
    estimate = estimate_score(rows, tuning, best_epoch_on_valid=on_valid)
    upload = Upload(make_board(rows, tuning), rows, rule, tuning)
    seen = [_narrow(run.task, target, part) for part in new]
    expected = expect_score(upload, estimate.tuned, seen)
    if not seen:
        seeds = run.n_models // run.n_folds
        expected = replace(expected, n_models=run.n_models, n_seeds=seeds)
    verdict = _hold_against_floors(run, target, upload, examples, estimate.tuned)
    figures = estimate.to_json()
    figures |= {
        "notes": [*figures["notes"], *expected.notes],
        "expected": expected.to_json(),
        "verdict": verdict.to_json(),
        "dev": read_labelled(upload, seen),
        "rule": rule.rule,
    }
    return rule, estimate, expected, figures


def _hold_against_floors(
    run: Run, target: Target, upload: Upload, examples: Examples, answers: Any
) -> Verdict:
    board, rows = upload.board, upload.rows
    parts, numeric = part_rows(rows, 0), target.is_numeric
    if run.member == "linear":
        return judge_run(board, answers, target.labels, target.kind, parts)
    used, probs = _fit_floor(examples, rows.targets, parts, numeric)
    probs = np.nan_to_num(probs)
    if target.kind == "distribution":
        probs = answers_of_probs(target, np.maximum(probs, 0))
    floor = replace(rows.take(used), probs=probs, folds=parts[used])
    linear = cross_fit(floor, replace(upload.tuning, n_bags=_FLOOR_BAGS))
    return judge_run(
        board.take(used), answers[used], target.labels, target.kind, parts[used], linear
    )


def _read_new_rows(run: Run) -> list[NewRows]:
    """What each model of the run says of test and dev, where they have all predicted it."""
    parts = []
    for split in ("test", "dev"):
        files = [run.fold_probs_file(model, split) for model in range(run.n_models)]
        predicted = [g for g in run.languages if run.probs_file(split, g).is_file()]
        # A held-out dev is the out-of-fold rows themselves.
        learnt = split in (*run.learnt_splits, run.held_out_split)
        # One that was written and is gone is refused when it is read.
        if learnt or not predicted or not all(f.is_file() or is_noted(f) for f in files):
            continue
        # Of several seeds the mean, as the out-of-fold rows are.
        first = run.read_fold_probs(0, split)
        rows = np.arange(len(first))
        if len(rows) > _MAX_NEW_ROWS:
            rows = np.sort(np.random.default_rng(0).choice(rows, _MAX_NEW_ROWS, replace=False))
        keys, voices = first.keys, [first.take(rows)]
        for fold in range(1, run.n_folds):
            voice = run.read_fold_probs(fold, split)
            if voice.keys != keys:
                break  # of other files than the first
            voices.append(voice.take(rows))
        if len(voices) < run.n_folds:
            continue
        labels, groups = _label(run, predicted, voices[0]) if split == "dev" else (None, rows)
        values = np.stack([voice.values for voice in voices])
        seeds = run.n_models // run.n_folds
        parts.append(NewRows(split, values, voices[0].languages, labels, groups, seeds))
    return parts


def _label(run: Run, languages: Sequence[str], probs: Probs) -> tuple[Any, Any]:
    """Gold labels `(m, n_labels)` of dev rows, or None, and the groups of the rows."""
    parts = [read_gold(run, "dev", language) for language in languages]
    if any(part is None for part in parts):
        return None, np.arange(len(probs))
    whole = Examples.concat([part for part in parts if part is not None])
    position = {key: row for row, key in enumerate(whole.keys)}
    if any(key not in position for key in probs.keys):
        return None, np.arange(len(probs))  # the file has other rows by now
    order = [position[key] for key in probs.keys]
    return whole.labels[order], number_groups(whole)[order]


def _narrow(task: Task, target: Target, new: NewRows) -> NewRows:
    """The columns of one target; of numbers, the numbers."""
    columns, labels = task.target_slices[target.name], task.label_slices[target.name]
    probs = np.stack([answers_of_probs(target, voice[:, columns]) for voice in new.probs])
    gold = None if new.gold is None else new.gold[:, labels]
    if gold is not None and np.isnan(gold).all():
        gold = None
    return replace(new, probs=probs, gold=gold)


def plan_tuning(run: Run, target: Target) -> Tuning:
    """How the rule of a target is tuned."""
    return Tuning(
        kind=target.kind,
        seed=int(run.settings["seed"]),
        n_levels=target.max_intensity,
        metric=choose_metric(run.task, target),
        scored=run.task.scoring.counted(target.labels),
        limits=target.range if target.bounded else None,
    )


def target_rows(task: Task, target: Target, oof: Probs, examples: Examples, folds: Any) -> OofRows:
    """The out-of-fold rows of one target; of numbers, the numbers."""
    targets = encode_labels(task, examples.labels)[:, task.target_slices[target.name]]
    return OofRows.of(
        answers_of_probs(target, oof.values[:, task.target_slices[target.name]]),
        decode_targets(target, targets) if target.is_numeric else targets,
        oof.languages,
        column_names(target),
        groups=number_groups(examples),
        folds=folds,
        beside=find_beside_rows(task, target, examples),
    )


def _fit_floor(
    examples: Examples, targets: NDArray[np.float64], folds: NDArray[np.int64], numeric: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Out-of-fold probabilities of word n-grams with logistic (of numbers: ridge) regression.

    Targets are `(n, C)` of 0, 1 and NaN, or numbers; folds `(n,)` are at least two. A pair is read
    after its text.

    Returns:
        Positions of the rows that were used `(m,)`, at most 20,000, and their probs `(m, C)`.
    """
    rows = np.arange(len(examples))
    if len(rows) > _MAX_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MAX_ROWS, replace=False))
    texts = [examples.texts[row] for row in rows]
    if examples.pairs:
        texts = [f"{text} {examples.pairs[row]}" for text, row in zip(texts, rows, strict=True)]
    probs = np.full((len(rows), targets.shape[1]), np.nan)
    for fold in np.unique(folds[rows]):
        held_out = folds[rows] == fold
        grams = _vectorize([t for t, out in zip(texts, held_out, strict=True) if not out], texts)
        for column, gold in enumerate(targets[rows].T):
            train = ~held_out & ~np.isnan(gold)
            probs[held_out, column] = _predict(grams[train], gold[train], grams[held_out], numeric)
    return rows, probs


def _vectorize(train: list[str], texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    for pattern in (r"(?u)\b\w\w+\b", r"(?u)\S"):  # words; signs, where there are no words
        grams = TfidfVectorizer(
            ngram_range=(1, 2),
            token_pattern=pattern,
            min_df=2,
            max_features=_MAX_NGRAMS,
            sublinear_tf=True,
        )
        try:
            return grams.fit(train).transform(texts)
        except ValueError:  # nothing occurs twice
            continue
    from scipy.sparse import csr_matrix

    return csr_matrix((len(texts), 1))


def _predict(train: Any, gold: NDArray[np.float64], held_out: Any, numeric: bool) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if not len(gold) or gold.min() == gold.max():
        return np.full(held_out.shape[0], gold[0] if len(gold) else 0.0)
    if numeric:
        return Ridge(alpha=1.0).fit(train, gold).predict(held_out)
    model = LogisticRegression(C=4.0, class_weight="balanced", solver="liblinear", random_state=0)
    return model.fit(train, gold).predict_proba(held_out)[:, 1]
