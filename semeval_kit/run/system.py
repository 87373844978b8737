"""A system: its members' runs, one after the other, and their blend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semeval_kit.run.blending import BlendPlan, blend_runs
from semeval_kit.run.directory import Run
from semeval_kit.run.plan import Engine, Plan, Say
from semeval_kit.run.stages import run_all


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

    Args:
        path: of the blend; a member's run lies beside it, its name after the blend's.
        plan: what is asked.
        engine: how members are computed.
        gold: reference labels of the test split, or None.
        say: is told what happens.

    Raises:
        KitError: a member fails, or they do not fit together; what is finished is kept.
    """
    runs = {}
    for number, (name, member) in enumerate(plan.members.items(), start=1):
        say(f"[{number}/{len(plan.members)}] {name}:")
        runs[name] = run_all(path.with_name(f"{path.name}_{name}"), member, engine, gold, say)
    say(f"blending {', '.join(runs)}")
    weights = {runs[name].name: share for name, share in plan.weights.items()}
    return blend_runs(path, list(runs.values()), BlendPlan(weights=weights), gold, say)
