"""A blend of runs, and a system of members that are trained for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import hash_files, pack_rows
from semeval_kit.decision.blend import (
    Blending,
    BlendWeights,
    choose_weights,
    cross_fit_blend,
    fix_weights,
    judge_blend,
    mix_members,
)
from semeval_kit.decision.oof import OofRows
from semeval_kit.errors import KitError
from semeval_kit.files import hold_lock, is_noted, read_json, write_json
from semeval_kit.probs import Probs, write_probs
from semeval_kit.run.directory import NEW_SPLITS, Run, spell_folds
from semeval_kit.run.jobs import Job
from semeval_kit.run.judge import plan_tuning, target_rows, tune
from semeval_kit.run.layout import Frozen
from semeval_kit.run.plan import Engine, Plan, Say, spell_settings
from semeval_kit.run.stages import pack, run_all, score
from semeval_kit.run.team import Team

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BlendPlan:
    """What is asked of a blend.

    Attributes:
        weights: by the name of a member, set by hand; the other members share the rest.
        languages: to predict; empty: those of all members.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    seed: int = 0


def blend_runs(
    path: Path, runs: Sequence[Run], plan: BlendPlan, gold: Path | None, say: Say
) -> Run:
    """Blend runs into a new one, and do every stage that follows: tune, pack, score.

    The same members give the same bytes; interrupted, the same call goes on.

    Raises:
        KitError: members do not fit together, with the reason, or the directory holds another run.
    """
    team = Team.gather(runs, plan.languages, plan.weights, say)
    free = [name for name in team.names if name not in plan.weights]
    left = 1.0 - sum(plan.weights.values())
    if min([*plan.weights.values(), 0.0]) < 0 or left < 0 or (free and left <= 0):
        raise KitError(
            f"the weights set by hand are {dict(plan.weights)}; each must be at least 0, and "
            "together they must leave something for the other members."
        )
    _ = team.rows  # what does not fit is refused before anything is written
    run = _create(path, team, plan)
    with hold_lock(run.path):
        run.clear_leftovers()
        exclusive = any(target.is_exclusive for target in run.task.targets)
        blending = Blending(seed=plan.seed, by_label=not exclusive)
        mixed = _mix_judged(team, plan, blending)
        _write_folds(run, team, mixed)
        weights = _choose(team, plan, blending)
        # As seen from the blend, so that both can move together.
        here = run.path.resolve()
        places = {n: os.path.relpath(m.path.resolve(), here) for n, m in team.runs.items()}
        write_json(run.weights_file, {**weights.to_json(), "places": places})
        _write_splits(run, team, weights, say)
        estimate = tune(run, say)
        notes = [*estimate["notes"], *team.notes]
        write_json(run.estimate_file, {**estimate, "notes": notes})
        pack(run, say)
        score(run, gold, say)
        if not run.blend_file.is_file():
            write_json(run.blend_file, _judge(run, team, mixed, blending))
    return run


def read_blend(run: Run) -> tuple[BlendWeights, dict[str, Run]]:
    """The weights of a finished blend, and its members where they lie now.

    Raises:
        KitError: the blend is not finished, or a member is gone.
    """
    stored = read_json(run.weights_file)
    members = {}
    for name, place in stored["places"].items():
        folder = Path(os.path.normpath(run.path.resolve() / place))
        members[name] = Run.open(folder)
    return BlendWeights.from_json(stored), members


@dataclass(frozen=True)
class SystemPlan:
    """What is asked of a system.

    Attributes:
        members: the plan of each member's run, by name.
        weights: of members whose share is set by hand.
    """

    members: Mapping[str, Plan]
    weights: Mapping[str, float]


def build_system(path: Path, plan: SystemPlan, engine: Engine, gold: Path | None, say: Say) -> Run:
    """Do every stage of each member, then blend them; what is finished is not done again.

    Raises:
        KitError: a member fails, or they do not fit together; what is finished is kept.
    """
    runs, places = {}, locate_members(path, plan)
    for number, (name, place) in enumerate(places.items(), start=1):
        say(f"[{number}/{len(plan.members)}] {name}:")
        runs[name] = run_all(place, plan.members[name], engine, gold, say)
    say(f"blending {', '.join(runs)}")
    weights = {runs[name].name: share for name, share in plan.weights.items()}
    return blend_runs(path, list(runs.values()), BlendPlan(weights=weights), gold, say)


def locate_members(path: Path, plan: SystemPlan) -> dict[str, Path]:
    """The folder of each member's run, which lie beside the blend's."""
    return {name: path.with_name(f"{path.name}_{name}") for name in plan.members}


def list_blend_job(path: Path, plan: SystemPlan, gold: Path | None) -> list[Job]:
    """The job that blends the members' finished runs; none where the blend is packed."""
    run = Run(path)
    if run.zip_file.is_file():
        return []
    words = ["blend", *(str(place.resolve()) for place in locate_members(path, plan).values())]
    words += ["--to", path.name, "--submissions", str(path.parent.resolve())]
    for name, share in plan.weights.items():
        words += ["--weight", f"{path.name}_{name}={share}"]
    words += ["--gold", str(gold.resolve())] if gold is not None else []
    writes = tuple(file.name for file in (run.weights_file, run.thresholds_file, run.zip_file))
    return [Job("blend", (tuple(words),), after=tuple(plan.members), writes=writes)]


def _create(path: Path, team: Team, plan: BlendPlan) -> Run:
    base, on_dev = team.base, team.basis == "dev"
    splits = ["dev"] if on_dev else list(base.settings["train_splits"])
    recipe = {
        "encoder": "blend",
        "folds": int(base.recipe.get("folds", 5)),
        "holdout": 0.0 if on_dev else float(base.recipe.get("holdout") or 0.0),
        "holdout_split": "dev" if on_dev else "",
        "seed": plan.seed,
    }
    learnt = team.train_languages
    settings = spell_settings(
        path,
        base.task,
        base.data,
        {"languages": team.languages, "train_languages": learnt, "train_splits": splits},
        data_sha256=hash_files(base.task, base.data, splits, learnt),
        member="blend",
        members=team.fingerprint(),
        weights={name: float(value) for name, value in plan.weights.items()},
        seed=plan.seed,
    )
    asked = Frozen(base.task_file.read_text(encoding="utf-8"), recipe, settings)
    examples = team.examples
    files = {
        "rows.json": pack_rows(examples),
        "folds.csv": spell_folds(examples.ids, examples.languages, team.folds.tolist()),
    }
    return Run.create(path, asked, files)


def _mix_judged(team: Team, plan: BlendPlan, blending: Blending) -> Floats:
    """Probs `(n, C)` of the judged rows, by weights that they had no say in."""
    free = [name for name in team.probs if name not in plan.weights]
    mixed, mass = np.zeros(team.rows.targets.shape), 0.0
    if free:
        left = 1.0 - sum(plan.weights.values())
        members = [team.probs[name] for name in free]
        mixed += left * cross_fit_blend(members, team.rows, free, blending)
        mass += left
    for name in team.probs:
        if name in plan.weights:
            mixed += plan.weights[name] * team.probs[name]
            mass += plan.weights[name]
    return np.clip(mixed / mass, 0.0, 1.0)


def _choose(team: Team, plan: BlendPlan, blending: Blending) -> BlendWeights:
    """The weights of all members by all judged rows: those set by hand, and the rest as chosen."""
    names, columns = team.names, team.rows.target_names
    free = [name for name in names if name not in plan.weights]
    if not free:
        return fix_weights(names, columns, [plan.weights[name] for name in names])
    free_weights = choose_weights([team.probs[name] for name in free], team.rows, free, blending)
    left = 1.0 - sum(plan.weights.values())

    def widen(table: Floats) -> Floats:
        wide = np.empty((len(columns), len(names)))
        for number, name in enumerate(names):
            wide[:, number] = plan.weights.get(name, 0.0)
            if name in free:
                wide[:, number] = left * table[:, free.index(name)]
        return wide

    values = {language: widen(table) for language, table in free_weights.values.items()}
    return BlendWeights(names, columns, widen(free_weights.joint), values, free_weights.own)


def _write_folds(run: Run, team: Team, mixed: Floats) -> None:
    """Write oof.csv and done.json of each fold."""
    whole = Probs(team.judged.ids, team.judged.languages, team.rows.target_names, mixed)
    folds = team.rows.folds
    for fold in range(run.n_folds):
        held_out = np.flatnonzero(folds == fold)
        run.finish_fold(fold, whole.take(held_out), len(folds) - len(held_out))


def _write_splits(run: Run, team: Team, weights: BlendWeights, say: Say) -> None:
    """Blend the splits that every member has predicted."""
    for split in NEW_SPLITS:
        lacking = [
            name
            for name, member in team.runs.items()
            if not all(member.probs_file(split, g).is_file() for g in team.languages)
        ]
        if split in run.settings["train_splits"]:
            continue
        if lacking:
            say(f"{', '.join(lacking)}: no probabilities of {split}, so it is not blended")
            continue
        rows = team.narrow(team.base.read_split(split), team.languages)
        run.keep_split(split, rows, hash_files(run.task, run.data, (split,), run.languages))
        for language in team.languages:
            mixed = _mix_probs(
                team, weights, partial(Run.read_probs, split=split, language=language)
            )
            write_probs(run.probs_file(split, language), mixed)
        _write_voices(run, team, weights, split)


def _write_voices(run: Run, team: Team, weights: BlendWeights, split: str) -> None:
    """Blend what the models of each fold say: their mean is the blend, their spread is told.

    Of a member that has no such models, or another number of them, the mean speaks in every fold.
    """
    for fold in range(run.n_folds):

        def read(member: Run, fold: int = fold) -> Probs:
            file = member.fold_probs_file(fold, split)
            if member.n_folds == run.n_folds and (file.is_file() or is_noted(file)):
                return member.read_fold_probs(fold, split)
            parts = [member.read_probs(split, language) for language in team.languages]
            return Probs.concat(parts)

        whole = _mix_probs(team, weights, read)
        write_probs(run.fold_probs_file(fold, split), whole)


def _mix_probs(team: Team, weights: BlendWeights, read: Callable[[Run], Probs]) -> Probs:
    """Blend what every member says of the same rows, in the order of the base's."""
    first = read(team.base)
    rows = [row for row, g in enumerate(first.languages) if g in team.languages]
    if len(rows) < len(first):
        first = first.take(rows)
    members = [team.align(name, read(run), first.keys) for name, run in team.runs.items()]
    mixed = mix_members(members, weights, first.languages)
    return Probs(first.ids, first.languages, weights.target_names, mixed)


def _judge(run: Run, team: Team, mixed: Floats, blending: Blending) -> dict[str, Any]:
    """The figures of the first target that is predicted."""
    task, target = run.task, run.task.main_targets[0]

    def target_rows_of(probs: Floats) -> OofRows:
        names = team.rows.target_names
        oof = Probs(team.judged.ids, team.judged.languages, names, probs)
        return target_rows(task, target, oof, team.judged, team.rows.folds)

    names, members = list(team.probs), list(team.probs.values())
    tuning = plan_tuning(run, target)
    return judge_blend(members, mixed, team.rows, names, target_rows_of, tuning, blending)
