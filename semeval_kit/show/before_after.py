"""The encoder before fine-tuning: found, checked, and scored beside the fine-tuned one."""

from __future__ import annotations

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import Answers, read_answers
from semeval_kit.show.scores import score_answers
from semeval_kit.show.tabulate import Table, show_number
from semeval_kit.show.wording import find_wording


def find_before(run: Run) -> Run | None:
    """The finished run of the same encoder before fine-tuning that lies inside the run, or None."""
    before = Run(run.before_dir)
    return before if before.estimate_file.is_file() else None


def read_before(run: Run, oof: Answers, before: Run) -> Answers:
    """Out-of-fold answers of the same encoder before fine-tuning.

    Args:
        run: the fine-tuned one.
        oof: its out-of-fold answers.
        before: a run with `epochs = 0`.

    Raises:
        KitError: `before` was trained, or has another task, encoder or rows.
    """
    _require_before(run, before)
    earlier = read_answers(before, "oof")
    if earlier is None or set(earlier.keys) != set(oof.keys):
        raise KitError(
            f"{before.path}: its rows are not those of {run.name}. Make it on the same data."
        )
    return earlier


def tabulate_before(run: Run, oof: Answers, before: Run) -> Table:
    """Scores on out-of-fold rows before and after fine-tuning.

    Raises:
        KitError: `before` does not fit, see `read_before`.
    """
    earlier = score_axes(run, read_before(run, oof, before))
    later = score_axes(run, oof)
    rows = (
        (name, show_number(earlier[name]), show_number(after), show_number(after - earlier[name]))
        for name, after in later.items()
    )
    compared = find_wording(run.task).compared
    return Table(
        "before",
        "Before and after fine-tuning",
        ("on out-of-fold rows", "before", "after", "difference"),
        tuple(rows),
        notes=(f"{compared}; before: the encoder as it came, with an untrained head.",),
    )


def score_axes(run: Run, answers: Answers) -> dict[str, float]:
    """The scores of the chart by name: F1 or Pearson r per label, or measures of all classes."""
    score = score_answers(run.task, answers, "tuned", n_resamples=0)
    axes = find_wording(run.task).axes
    if axes:
        return {short: score.measures[name] for name, short in axes}
    return {label.label: label.score for label in score.labels}


def _require_before(run: Run, before: Run) -> None:
    """Raise an error unless the run is the same encoder on the same task without training."""
    if int(before.recipe["epochs"]) != 0:
        raise KitError(
            f"{before.path}: was trained for {before.recipe['epochs']} epochs, so it does not show "
            "the encoder before fine-tuning. Make a run with --epochs 0 for that."
        )
    pairs = {
        "task": (before.task.name, run.task.name),
        "encoder": (before.recipe["encoder"], run.recipe["encoder"]),
    }
    for field, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise KitError(
                f"{before.path}: its {field} is {theirs}, that of {run.name} is {ours}. "
                f"Make the run before fine-tuning with the same {field}."
            )
