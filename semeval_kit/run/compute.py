"""The stages that need a model: training and probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from semeval_kit.data.examples import Examples
from semeval_kit.errors import KitError
from semeval_kit.files import keep_files, remove_kept
from semeval_kit.probs import mean_probs
from semeval_kit.run.directory import Run, read_json, remove_leftovers, remove_tree
from semeval_kit.run.frozen import hash_files
from semeval_kit.run.plan import NEW_SPLITS, Engine, Say
from semeval_kit.run.prepare import require_same_encoder
from semeval_kit.training.fanout import run_folds
from semeval_kit.training.machine import Slots, plan_slots
from semeval_kit.training.source import weights_bytes


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
        rows = ", ".join(f"{len(examples)} {split}" for split, examples in wanted.items())
        models = f"{len(todo)} models" if len(todo) > 1 else "one model"
        say(f"predicting {rows} rows with {models}")
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


def describe_folds(run: Run, folds: Sequence[int]) -> str:
    """Which models are meant: "folds 0, 3 of 5", or "one model, dev held out"."""
    if run.n_models == 1:
        return f"one model, {run.scheme}"
    if run.n_models > run.n_folds:
        return f"{len(folds)} of {run.n_models} models, {run.scheme}, {run.recipe['seeds']} seeds"
    return f"folds {', '.join(map(str, folds))} of {run.n_folds}"


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
