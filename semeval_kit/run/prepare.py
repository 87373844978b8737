"""The first stage: the data read and checked, the folds made, the run frozen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import (
    Examples,
    drop_auxiliary,
    find_file,
    hash_files,
    pack_rows,
    read_examples,
    read_splits,
    require_files,
)
from semeval_kit.data.extra import ExtraRows, pack_extra, pair_keys, read_extra
from semeval_kit.data.folds import assign_folds, assign_holdout, scarce_labels
from semeval_kit.data.texts import normalize_text, number_groups
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import NEW_SPLITS, Run, spell_folds
from semeval_kit.run.plan import Plan, Say, freeze_plan
from semeval_kit.task.codec import encode_labels, target_names
from semeval_kit.task.task import Task, load_task
from semeval_kit.training.recipe import Recipe
from semeval_kit.training.source import hash_encoder

_SHOWN = 5
_LEFT_OUT = (
    "extra row is left out: its text is",
    "extra rows are left out: their texts are",
)


def prepare(path: Path, plan: Plan, say: Say) -> Run:
    """Read and check the data, make the folds and freeze the run.

    Raises:
        KitError: the data has errors, languages overlap where they must not, or the directory
            holds another run.
    """
    task = load_task(plan.task)
    config, asked = freeze_plan(path, plan, task)
    settings, data = asked.settings, Path(asked.settings["data"])
    if Run(path).goes_on_with(asked):
        run = Run.open(path)
        require_files(run.task, data, (*run.languages, *settings["train_languages"]))
        if run.settings.get("data_sha256") and not settings["data_sha256"]:
            say(f"{data}: no training files; the rows that the run keeps are used")
        move_run(run, data, str(asked.recipe["encoder"]))
        return run
    if Run(path).settings_file.is_file():
        say(f"{path}: no fold has begun, so the run is made anew with these settings")
    train_languages = tuple(settings["train_languages"])
    task = task.narrowed(train_languages, tuple(settings["languages"]))
    examples = read_splits(task, data, tuple(settings["train_splits"]), train_languages)
    for note in examples.notes:
        say(note)
    files = {"rows.json": pack_rows(examples), **_deal_rows(task, examples, config, settings, say)}
    if config.extra:
        files["extra.json"] = pack_extra(_choose_extra(task, data, config, train_languages, say))
    run = Run.create(path, asked, files)
    held_out = f"{run.n_held_out_rows} of them held out" if run.n_folds == 1 else run.scheme
    counted = count_noun(len(examples), "row")
    say(f"{run.path}: {counted} in {', '.join(train_languages)}; {held_out}")
    return run


def move_run(run: Run, data: Path | None = None, encoder: str | None = None) -> None:
    """Note where the data or a local encoder lie now, after seeing that they are the same bytes.

    Raises:
        KitError: a file is another than the one that the run was made with, or the folder holds
            none.
    """
    if data is not None and str(data.resolve()) != str(run.data):
        require_files(run.task, data, (*run.languages, *run.settings["train_languages"]))
        require_same_data(Run(run.path, data.resolve()))
        run.set_places(data=str(data.resolve()))
    if encoder is not None and encoder != run.recipe["encoder"]:
        if hash_encoder(encoder) != run.settings.get("encoder_sha256", {}):
            raise KitError(f"encoder '{encoder}': is not the one that the run was made with.")
        run.set_places(encoder=str(Path(encoder).expanduser().resolve()))


def require_same_encoder(run: Run) -> None:
    """See that a local encoder is the one that the run was made with.

    Raises:
        KitError: a file has changed or is gone.
    """
    name, made_with = run.recipe["encoder"], run.settings.get("encoder_sha256", {})
    try:
        now = hash_encoder(name)
    except KitError as error:
        raise KitError(
            f"{error.message}\nIf the folder lies elsewhere now: `semeval-kit train {run.path} "
            "--model FOLDER`."
        ) from error
    changed = sorted(n for n in made_with.keys() | now.keys() if made_with.get(n) != now.get(n))
    if changed:
        raise KitError(
            f"encoder '{name}': changed since the run was made: {', '.join(changed)}. "
            "Put the old files back, or start a new run."
        )


def require_same_data(run: Run) -> None:
    """See that training files that are there are those that the run was made with.

    Raises:
        KitError: a file has changed.
    """
    settings = run.settings
    now = hash_files(run.task, run.data, settings["train_splits"], settings["train_languages"])
    frozen = settings["data_sha256"]
    changed = sorted(n for n, d in now.items() if d != frozen.get(n) and d not in frozen.values())
    if changed:
        raise KitError(
            f"{run.data}: changed since the run was made: {', '.join(changed)}. "
            "Put the old files back, or start a new run."
        )


def _assign(examples: Examples, targets: Any, config: Recipe) -> Any:
    """Fold numbers `(n_examples,)`; -1 for rows that every model learns from."""
    if config.holdout_split:
        held_out = [id_.startswith(f"{config.holdout_split}:") for id_ in examples.ids]
        return np.where(held_out, 0, -1)
    groups = number_groups(examples)
    if config.holdout:
        return assign_holdout(groups, targets, examples.languages, config.holdout, config.seed)
    return assign_folds(groups, targets, examples.languages, config.folds, config.seed)


def _choose_extra(
    task: Task, data: Path, config: Recipe, languages: Sequence[str], say: Say
) -> ExtraRows:
    """The extra rows without the texts of dev and test, unless those are asked for."""
    extra = read_extra(task, config.extra, languages)
    for note in extra.examples.notes:
        say(note)
    for split in NEW_SPLITS:
        others = [g for g in task.predict_languages if find_file(task, data, split, g) is not None]
        may_teach = task.may_teach(split)
        if (config.transductive and may_teach) or not others:
            continue
        texts = set(pair_keys(read_examples(task, data, split, others, labelled=False)))
        kept = extra.without(texts)
        if n_left := len(extra) - len(kept):
            way = "--transductive true learns from them."
            way = way if may_teach else f"Task {task.name} lets nothing be learnt from them."
            say(f"warning: {count_noun(n_left, *_LEFT_OUT)} in {split}. {way}")
        extra = kept
    if not len(extra):
        raise KitError("no extra row is left. Give other files, or leave --extra out.")
    counted = count_noun(len(extra), "extra row")
    say(f"{counted}, which every fold learns from; weight {config.extra_weight:g}")
    return extra


def _spell_all_folds(examples: Examples, targets: Any, config: Recipe) -> dict[str, str]:
    """The files that say which fold a row is in: one, or with `refold` one for each seed."""
    files = {}
    held_out = config.holdout or config.holdout_split
    for further in range(config.seeds if config.refold and not held_out else 1):
        seed = config.model_copy(update={"seed": config.seed + further})
        folds = _assign(examples, targets, seed)
        name = f"seed-{further}/folds.csv" if further else "folds.csv"
        files[name] = spell_folds(examples.ids, examples.languages, folds.tolist())
    return files


def _require_both(folds: NDArray[np.int64], config: Recipe) -> None:
    """See that a hold-out leaves rows to learn from, and some to judge by."""
    if folds.max() > 0:
        return
    held_out = int((folds >= 0).sum())
    if held_out in (0, len(folds)):
        raise KitError(
            f"of {count_noun(len(folds), 'row')} {held_out} are held out, so there is nothing to "
            f"{'judge by' if held_out == 0 else 'learn from'}. Give another --holdout."
        )


def _deal_rows(
    whole: Task, examples: Examples, config: Recipe, settings: Mapping[str, Any], say: Say
) -> dict[str, str]:
    """The files of the folds; what is odd about labels, folds and overlaps is said."""
    predicted, task = drop_auxiliary(whole, examples), whole.without_auxiliary()
    _warn_of_unlearnt_labels(task, predicted, say)
    targets = encode_labels(task, predicted.labels)
    folds = _assign(predicted, targets, config)
    _require_both(folds, config)
    splits = tuple(settings["train_splits"])
    _warn_of_overlap(task, Path(settings["data"]), splits, (predicted, folds), say)
    if folds.max() > 0:
        for warning in scarce_labels(targets, target_names(task), config.folds):
            say(f"warning: {warning}")
    return _spell_all_folds(predicted, targets, config)


def _warn_of_unlearnt_labels(task: Task, examples: Examples, say: Say) -> None:
    learnt = {
        label
        for column, label in enumerate(examples.label_names)
        if np.nansum(examples.labels[:, column]) > 0
    }
    for language in task.predict_languages:
        lacking = set(task.all_labels) - set(task.labels_for(language))
        missing = [
            name
            for target in task.main_targets
            for label, name in zip(target.labels, target.label_names, strict=True)
            if name not in learnt and not (target.name == "main" and label in lacking)
        ]
        if missing:
            say(
                f"warning: {language} has {', '.join(missing)}, but no training row is positive "
                "for it: it will never be predicted. Add a training language that has it."
            )


def _warn_of_overlap(
    task: Task,
    data: Path,
    splits: Sequence[str],
    rows: tuple[Examples, NDArray[np.int64]],
    say: Say,
) -> None:
    """Tell which rows of dev, test and a hold-out have texts that a model learns from."""
    examples, folds = rows
    held_out = np.flatnonzero(folds >= 0) if folds.max() < 1 else np.empty(0, dtype=np.int64)
    texts = np.delete(np.array(examples.texts, dtype=object), held_out)
    learnt = {normalize_text(text) for text in texts}
    copies = [(examples.ids[row], examples.texts[row]) for row in held_out]
    _warn_of_copies("held-out", copies, learnt, say)
    languages = task.predict_languages
    for split in NEW_SPLITS:
        if split in splits or any(find_file(task, data, split, g) is None for g in languages):
            continue
        other = read_examples(task, data, split, languages, labelled=False)
        _warn_of_copies(split, list(zip(other.ids, other.texts, strict=True)), learnt, say)


def _warn_of_copies(
    name: str, rows: Sequence[tuple[str, str]], learnt: Collection[str], say: Say
) -> None:
    shared = [id_ for id_, text in rows if normalize_text(text) in learnt]
    if shared:
        more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
        share = len(shared) / len(rows)
        texts = f"of {count_noun(len(rows), f'{name} text')}"
        agreed = count_noun(
            len(shared), f"{texts} is also a training text", f"{texts} are also training texts"
        )
        say(
            f"warning: {agreed}: {', '.join(shared[:_SHOWN])}{more}. That is {share:.2%}: "
            f"an accuracy on {name} may be up to {share:.4f} too high for it."
        )
