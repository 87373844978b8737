"""Tables over several runs for the paper: ablations, seeds, and the values that were tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semeval_kit.show.comparison import RunComparison, official_score
from semeval_kit.show.comparison_tables import SPLIT_TITLES, measure_title, shown_encoder
from semeval_kit.show.results import RunResults
from semeval_kit.show.tables import Table, show_interval, show_number, show_p, show_spread

# Settings beside the recipe that make a run another one.
_FROZEN = ("task", "languages", "train_languages", "train_splits", "data_sha256")


def tabulate_ablations(comparison: RunComparison, name: str) -> Table:
    """Other runs: what differs in their recipe, the score, the difference from this run, and p."""
    own = next(e.results for e in comparison.entries if e.results.name == name)
    metric = measure_title(own.metric, own.task.kind)
    rows = []
    for entry in comparison.entries:
        test = entry.versus_best
        is_own = entry.results.name == name
        rows.append(
            (
                entry.results.name,
                "this run" if is_own else describe_changes(entry.results, own),
                show_number(entry.score),
                show_number(test.difference if test else None),
                show_interval(test.low, test.high) if test else "",
                show_p(test.p_value) if test else ("" if is_own else "-"),
            )
        )
    return Table(
        f"ablations-{comparison.split}",
        f"Other runs against {name}, {SPLIT_TITLES[comparison.split]}",
        ("run", "what differs", metric, "difference", "95% interval", "p"),
        tuple(rows),
        n_text=2,
        notes=comparison.notes,
    )


def tabulate_seeds(groups: Sequence[Sequence[RunResults]]) -> Table:
    """Runs that differ only in their seed: mean and sd over seeds."""
    rows = []
    for group in groups:
        values = {
            "oof": [r.reading("cross_fitted").get("score") for r in group],
            "dev": [s.score if (s := r.split_score("dev")) else None for r in group],
            "test": [official_score(r) for r in group],
        }
        rows.append(
            (
                group[0].name,
                ", ".join(str(r.recipe["seed"]) for r in group),
                *(show_spread([v for v in column if v is not None]) for column in values.values()),
            )
        )
    return Table(
        "seeds",
        "Seeds: mean ± sd over runs that differ only in the seed",
        ("run", "seeds", "out of fold, cross-fitted", "dev", "test"),
        tuple(rows),
        n_text=2,
    )


def tabulate_recipe(own: RunResults, others: Sequence[RunResults]) -> Table:
    """Every hyperparameter, and the values that the other runs tried."""
    rows = []
    for field, value in own.recipe.items():
        tried = dict.fromkeys(_show_value(field, r.recipe.get(field)) for r in (own, *others))
        rows.append((field, _show_value(field, value), ", ".join(tried) if len(tried) > 1 else ""))
    return Table(
        "recipe",
        "Hyperparameters, and the values tried in the runs given",
        ("field", "value", "values tried"),
        tuple(rows),
        n_text=3,
    )


def group_seeds(runs: Sequence[RunResults]) -> list[list[RunResults]]:
    """Runs that differ in nothing but the seed, together; in the order of their first."""
    groups: list[list[RunResults]] = []
    for run in runs:
        for group in groups:
            if _fields_that_differ(run, group[0]) <= {"seed"}:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def describe_changes(other: RunResults, own: RunResults) -> str:
    """What differs between two runs, such as `encoder: bert-tiny; epochs: 3`."""
    values = {**other.settings, **other.recipe}
    changes = [
        f"{name}: {_show_value(name, values.get(name))}"
        for name in (*_FROZEN, *own.recipe)
        if name in _fields_that_differ(other, own)
    ]
    return "; ".join(changes) or "nothing"


def _fields_that_differ(one: RunResults, two: RunResults) -> set[str]:
    fields = {n for n in {*one.recipe, *two.recipe} if one.recipe.get(n) != two.recipe.get(n)}
    return fields | {n for n in _FROZEN if one.settings.get(n) != two.settings.get(n)}


def _show_value(field: str, value: Any) -> str:
    if field == "encoder":
        return shown_encoder(str(value))
    if isinstance(value, dict):
        return "other files"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)
