"""What a person asks for, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from semeval_kit.training.recipe import Recipe
from semeval_kit.training.space import Space

Say = Callable[[str], None]
SPLITS = ("dev", "test")


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
        before: measure the encoder before fine-tuning, too.
    """

    task: str
    data: Path
    languages: tuple[str, ...]
    config: Recipe
    train_languages: tuple[str, ...] = ()
    train_splits: tuple[str, ...] = ("train",)
    before: bool = False


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


@dataclass(frozen=True)
class SearchPlan:
    """What is searched.

    Attributes:
        plan: task, data, and the recipe that the search begins with.
        space: the fields that vary.
        objective: "score" (cross-fitted) or "map" (mean average precision).
        n_trials: in all, by all processes.
        hours: after which a process begins no fold; None: no limit.
        storage: URL of a database; empty: a journal file in the search's folder.
        keep_models: keep the weights of all trials.
    """

    plan: Plan
    space: Space
    objective: str = "score"
    n_trials: int = 40
    hours: float | None = None
    storage: str = ""
    keep_models: bool = False
