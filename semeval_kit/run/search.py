"""A search: trials of a recipe on the same folds, and the winner confirmed on others.

Every trial is a run. It trains one fold at a time and gets the next only while it is not clearly
behind (`decision.verdict`). The best of many trials is an optimistic choice on the folds that
chose it; what is reported is the winner and the recipe that the search began with, both trained
anew on another partition of the rows.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.decision.estimate import choose_metric
from semeval_kit.decision.oof import FloatArray
from semeval_kit.decision.verdict import judge_standing, mean_cells, measure_cells
from semeval_kit.errors import KitError
from semeval_kit.files import SUMS, hold_lock, keep_files, read_json, remove_tree, write_json
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import Run
from semeval_kit.run.judge import oof_examples, target_rows
from semeval_kit.run.layout import Frozen
from semeval_kit.run.plan import Engine, Say, SearchPlan, freeze_plan
from semeval_kit.run.prepare import prepare
from semeval_kit.run.stages import run_all, train
from semeval_kit.run.trials import LOCK_SECONDS, Trial, Trials
from semeval_kit.show.compare import compare_runs
from semeval_kit.show.wording import name_measure
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.task import load_task
from semeval_kit.training.recipe import Recipe, make_recipe
from semeval_kit.training.source import is_encoder

# So many trials that fail one after the other are no fault of their params.
_MOST_FAILURES = 3

SETTINGS = "search.json"
RESULTS = "results.json"
CONFIRMED = "confirmed.json"
START = "start"


def search(path: Path, asked: SearchPlan, engine: Engine, say: Say) -> dict[str, Any]:
    """Do trials until there are enough or time is over, and confirm the winner.

    Another process with the same folder (or storage) shares the trials; after a kill the same
    call goes on.

    Returns:
        The results, as results.json holds them.

    Raises:
        KitError: the search cannot begin, or several trials in a row fail.
    """
    deadline = time.monotonic() + 3600 * asked.hours if asked.hours else float("inf")
    plan = replace(asked.plan, config=_settle(path, asked, say))
    config, frozen = freeze_plan(path / "trial-000", plan, load_task(plan.task))
    asked = replace(asked, plan=replace(plan, config=config))
    start = asked.space.locate(config)
    settings = _freeze(path, asked, frozen)
    low, seed = is_low_better(settings), asked.plan.config.seed
    trials = Trials(path, asked.storage, asked.space, seed=seed, low=low)
    trials.bind(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest())
    work = _Work(path, asked, replace(engine, jobs=1), trials, deadline, say)
    failures = 0
    while time.monotonic() < deadline:
        with trials.take(asked.n_trials, start, say) as trial:
            if trial is None:
                break
            failures = 0 if work.do(trial) else failures + 1
        if failures >= _MOST_FAILURES:
            told = trials.read_all()[trial.number].why
            raise KitError(f"{failures} trials in a row have failed, the last one so:\n{told}")
        gather_results(path, asked, trials)
    confirm_winner(path, asked, engine, trials, say)
    return gather_results(path, asked, trials)


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
            numeric=target.is_numeric,
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


def _settle(path: Path, asked: SearchPlan, say: Say) -> Recipe:
    """The recipe that the search begins with: with nothing chosen on judged rows."""
    config = asked.plan.config
    if config.holdout or config.holdout_split:
        raise KitError("a search compares folds: give a recipe without a hold-out, or --holdout 0.")
    if config.refold:
        raise KitError("a search compares folds: give a recipe without refold, or --refold no.")
    if not is_encoder(config.encoder):
        raise KitError(f"encoder '{config.encoder}': is not trained by a recipe: name an encoder.")
    if config.select_by != "last" or config.patience:
        say(
            "every trial keeps its last epoch: one chosen on the rows that judge it would favour "
            "more epochs (select_by = 'last', patience = 0)"
        )
    if (path / SETTINGS).is_file():
        begun_with = read_json(path / SETTINGS)["recipe"]
        if begun_with.get("encoder") == config.encoder and not config.revision:
            config = config.model_copy(update={"revision": begun_with.get("revision", "")})
    return config.model_copy(update={"select_by": "last", "patience": 0})


def _freeze(path: Path, asked: SearchPlan, frozen: Frozen) -> dict[str, Any]:
    """Write what all trials share, or see that it is what the folder was made with."""
    of_run = ("languages", "train_languages", "train_splits", "data_sha256", "encoder_sha256")
    hashes = ("extra_sha256", "texts_sha256")
    recipe = dict(frozen.recipe)
    if frozen.settings["encoder_sha256"]:  # a local one is known by its files, wherever they lie
        recipe["encoder"] = Path(recipe["encoder"]).name
    settings = {
        "format": 1,
        "task": frozen.settings["task"],
        "task_sha256": hashlib.sha256(frozen.task_text.encode()).hexdigest(),
        **{name: frozen.settings[name] for name in of_run},
        **{name: frozen.settings[name] for name in hashes if name in frozen.settings},
        "objective": asked.objective,
        "metric": choose_metric(load_task(asked.plan.task)),
        "recipe": recipe,
        "space": asked.space.text,
    }
    path.mkdir(parents=True, exist_ok=True)
    with hold_lock(path, LOCK_SECONDS):
        if not (path / SETTINGS).is_file():
            if any(not entry.name.startswith((".", SUMS)) for entry in path.iterdir()):
                raise KitError(f"{path}: exists but is no search. Choose another --run name.")
            keep_files(path)
            write_json(path / SETTINGS, settings)
    begun_with = read_json(path / SETTINGS)
    wrong = [
        f"  {name}: the search has {begun_with.get(name)!r}, you ask for {settings[name]!r}"
        for name in settings
        if begun_with.get(name) != settings[name]
    ]
    if wrong:
        raise KitError(
            f"{path}: this search was begun with other settings.\n" + "\n".join(wrong) + "\n"
            "Give the old settings to go on with it, or another --run name for a new search."
        )
    return settings


@dataclass(frozen=True)
class _Work:
    """One process at work on the trials of a search."""

    path: Path
    asked: SearchPlan
    engine: Engine
    trials: Trials
    deadline: float
    say: Say

    def do(self, trial: Trial) -> bool:
        """Train a trial until it is done, clearly behind, or time is over; False if it failed."""
        twin = self._find_twin(trial)
        if twin is not None:
            self.say(f"{trial.name}: the same as {twin.name}, whose figures are taken over")
            self.trials.take_over(trial, twin)
            return True
        told = ", ".join(f"{name} {_spell(value)}" for name, value in trial.params.items())
        self.say(f"{trial.name}: {told}" + ("" if trial.number else " (the recipe itself)"))
        try:
            self._train(trial)
        except KitError as error:
            if trial.number == 0:
                raise  # nothing is wrong with its params: the same command tries it again
            self.trials.end(trial, error.message, failed=True)
            self.say(f"{trial.name}: failed: {error.message}")
            return False
        return True

    def _train(self, trial: Trial) -> None:
        plan = replace(self.asked.plan, config=configure_trial(self.asked.plan.config, trial))
        run = prepare(self.path / trial.name, plan, self.say if trial.number == 0 else _keep_quiet)
        cells: list[FloatArray] = list(trial.cells)
        for fold in range(len(cells), run.n_folds):
            if time.monotonic() >= self.deadline:
                self.say(f"{trial.name}: time is over; the same command goes on with fold {fold}")
                self.trials.release(trial)
                return
            train(run, replace(self.engine, folds=(fold,)), self.say)
            cells.append(measure_fold(run, fold))
            seconds = sum(run.read_done(m).get("process_seconds", 0) for m in run.list_models(fold))
            self.trials.note_fold(replace(trial, cells=np.array(cells[:-1])), cells[-1], seconds)
            if fold + 1 < run.n_folds and self._stop_if_behind(trial, np.array(cells)):
                if not self.asked.keep_models:
                    remove_models(run)
                return
        run_all(run.path, plan, self.engine, None, _keep_quiet)
        value = measure_trial(run, self.asked.objective)
        self.trials.finish(trial, value)
        if not self.asked.keep_models:
            remove_models(run)
        self.say(f"{trial.name}: all {run.n_folds} folds, {self.asked.objective} {value:.4f}")

    def _stop_if_behind(self, trial: Trial, cells: FloatArray) -> bool:
        others = {
            other.number: other.cells
            for other in self.trials.read_all()
            if other.number != trial.number and len(other.cells) and other.same_as < 0
        }
        standing = judge_standing(cells, others)
        if trial.number == 0 or not standing.behind:
            return False
        why = (
            f"after {count_noun(len(cells), 'fold')} clearly behind trial-{standing.leader:03}: "
            f"{standing.gap:.3f} lower, {standing.gap / max(standing.error, 1e-12):.1f} standard "
            "errors, and below the median"
        )
        self.trials.end(trial, why)
        self.say(f"{trial.name}: stopped {why}")
        return True

    def _find_twin(self, trial: Trial) -> Trial | None:
        """An ended trial with the same params: folds and seed are the same, so it would be, too."""
        if len(trial.cells):
            return None
        for other in self.trials.read_all():
            ended = other.state in ("done", "stopped") and other.number != trial.number
            if ended and other.params == trial.params:
                return other
        return None


def _keep_quiet(_: str) -> None:
    """Say nothing: what there is to say of the data was said of the first trial."""


def _spell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
