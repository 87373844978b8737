"""The end of a search: the winner on a new partition of the rows, and all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.decision.verdict import mean_cells, measure_cells
from semeval_kit.errors import KitError
from semeval_kit.files import hold_lock, read_json, remove_tree, write_json
from semeval_kit.run.directory import Run
from semeval_kit.run.judge import oof_examples, target_rows
from semeval_kit.run.plan import Engine, Say, SearchPlan
from semeval_kit.run.stages import run_all
from semeval_kit.run.trials import LOCK_SECONDS, Trial, Trials
from semeval_kit.show.compare import compare_runs
from semeval_kit.show.wording import name_measure
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC
from semeval_kit.task.task import load_task
from semeval_kit.training.recipe import Recipe, make_recipe

SETTINGS = "search.json"
RESULTS = "results.json"
CONFIRMED = "confirmed.json"
START = "start"


def confirm_winner(path: Path, asked: SearchPlan, engine: Engine, trials: Trials, say: Say) -> None:
    """Train the winner and the start anew on another partition, unless others are at work.

    Raises:
        KitError: a run fails; what is finished is kept.
    """
    every_trial = trials.read_all()
    for trial in every_trial:
        owner = trials.describe_owner(trial) if trial.state == "open" else ""
        if owner:
            say(f"{trial.name}: {owner} is at work on it; who is last confirms the winner")
            return
    winner = find_winner(every_trial, is_low_better(read_json(path / SETTINGS)))
    if winner is None:
        say("no trial has all its folds yet, so there is nothing to confirm")
        return
    _require_true(path, winner, asked.objective)
    start = asked.plan.config
    # The models of the trials have the seeds from start.seed on.
    seed = start.seed + max(start.seeds, int(winner.params.get("seeds", 1)))
    recipes = {START: start}
    if winner.number:
        recipes[winner.name] = configure_trial(start, winner)
    with trials.hold("confirm") as other:
        if other:
            say(f"{other} confirms the winner")
            return
        say(f"{winner.name} is the best; it is confirmed on another partition (seed {seed})")
        runs = []
        for name, recipe in recipes.items():
            plan = replace(asked.plan, config=recipe.model_copy(update={"seed": seed}))
            runs.append(run_all(path / "confirm" / name, plan, engine, None, say))
        facts = {"winner": winner.name, "seed": seed, **_compare(runs)}
        with hold_lock(path, LOCK_SECONDS):
            write_json(path / CONFIRMED, facts)


def find_winner(trials: Sequence[Trial], low_is_better: bool) -> Trial | None:
    """The best trial that has all its folds, the earliest of equal ones; None without any."""
    sign = 1 if low_is_better else -1
    done = [trial for trial in trials if trial.value is not None and trial.same_as < 0]
    return min(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def is_low_better(settings: dict[str, Any]) -> bool:
    """Whether small values of a search's objective are better."""
    return settings["objective"] == "score" and METRIC_FACTS[settings["metric"]].low_is_better


def configure_trial(start: Recipe, trial: Trial) -> Recipe:
    """The recipe of a trial; the first one is the start itself, with what it leaves open.

    Raises:
        KitError: the params contradict each other.
    """
    if trial.number == 0:
        return start
    return make_recipe({**start.model_dump(), **trial.params}, trial.name)


def measure_fold(run: Run, fold: int) -> FloatArray:
    """The cells `(C,)` of a trained fold of a run: see `decision.verdict`.

    Raises:
        KitError: the fold is not finished.
    """
    examples, folds = oof_examples(run)
    rows = np.flatnonzero(folds == fold)
    held_out = examples.take(rows)
    probs = run.read_fold_oof(fold).order(held_out.keys)
    parts = [
        measure_cells(
            target_rows(run.task, target, probs, held_out, folds[rows]),
            numeric=target.kind in NUMERIC,
        )
        for target in run.task.main_targets
    ]
    return np.concatenate(parts)


def measure_trial(run: Run, objective: str) -> float:
    """What a finished run has of a search's objective: "score", cross-fitted, or "map"."""
    if objective == "score":
        return float(read_json(run.estimate_file)["cross_fitted"]["score"])
    return mean_cells(np.array([measure_fold(run, fold) for fold in range(run.n_folds)]))


def remove_models(run: Run) -> None:
    """Remove the weights of a run; what they said of every row is kept."""
    for model in range(run.n_models):
        remove_tree(run.model_dir(model))


def gather_results(path: Path, asked: SearchPlan, trials: Trials) -> dict[str, Any]:
    """Write what is known of a search into results.json, and return it."""
    settings, every_trial = read_json(path / SETTINGS), trials.read_all()
    begun = [trial for trial in every_trial if trial.state != "waiting"]
    first = {t.number: mean_cells(t.cells[:1]) for t in begun if t.n_folds}
    winner = find_winner(every_trial, is_low_better(settings))
    confirmed = read_json(path / CONFIRMED) if (path / CONFIRMED).is_file() else {}
    results = {
        "objective": settings["objective"],
        "metric": name_measure(settings["metric"], load_task(asked.plan.task).kind),
        "low_is_better": is_low_better(settings),
        "n_trials": asked.n_trials,
        "n_folds": asked.plan.config.folds,
        "folds_trained": sum(trial.n_folds for trial in begun),
        "space": {d.name: d.spell() for d in asked.space.dimensions},
        "trials": [_describe(trial, every_trial[0], trials) for trial in begun],
        "importances": trials.rank_fields(first),
        "ranked_from": len(first),
        "winner": winner.name if winner else None,
        "confirmed": confirmed if winner and confirmed.get("winner") == winner.name else None,
    }
    with hold_lock(path, LOCK_SECONDS):
        write_json(path / RESULTS, results)
    return results


def _describe(trial: Trial, start: Trial, trials: Trials) -> dict[str, Any]:
    """What is told of a trial; held against the start on the folds that both have."""
    shared = min(len(trial.cells), len(start.cells))
    gap = mean_cells(trial.cells[:shared] - start.cells[:shared]) if shared else None
    return {
        "name": trial.name,
        "state": trial.state,
        "params": dict(trial.params),
        "folds": len(trial.cells),
        "value": trial.value,
        "map": mean_cells(trial.cells) if len(trial.cells) else None,
        "first": mean_cells(trial.cells[:1]) if len(trial.cells) else None,
        "against_start": gap,
        "seconds": trial.seconds,
        "why": trial.why,
        "same_as": trial.same_as,
        "at_work": trials.describe_owner(trial) if trial.state == "open" else "",
    }


def _require_true(path: Path, winner: Trial, objective: str) -> None:
    """Hold the storage, which knows no hashes, against the winner's run, which does."""
    run = Run(path / winner.name)
    if not run.settings_file.is_file():
        return  # trained on a machine that shares the storage alone
    value = measure_trial(run, objective)
    if winner.value is None or abs(value - winner.value) > 1e-9:
        raise KitError(
            f"{run.path}: has {objective} {value:.6f}, and the storage of the search says "
            f"{winner.value}. The storage is damaged: put it back from a copy."
        )


def _compare(runs: Sequence[Run]) -> dict[str, Any]:
    """Figures of the start and of the winner on the same new partition, and their difference."""
    entries = {e.results.name: e for e in compare_runs(runs, reference=START).entries}
    cells = [np.array([measure_fold(run, fold) for fold in range(run.n_folds)]) for run in runs]
    figures = []
    for run, measured in zip(runs, cells, strict=True):
        tuned = entries[run.name].tuned
        low, high = tuned.interval or (None, None)
        figures.append(
            {"score": tuned.score, "low": low, "high": high, "map": mean_cells(measured)}
        )
    facts: dict[str, Any] = {"start": figures[0], "figures": figures[-1], "difference": None}
    test = entries[runs[-1].name].versus_best
    if test is not None:
        facts["difference"] = test.to_json()
        facts["map_difference"] = mean_cells(cells[-1] - cells[0])
    return facts
