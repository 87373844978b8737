"""What a person reads when a run is finished: where the zip is, its score, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semeval_kit.run import Run

_NAMES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "accuracy": "accuracy",
    "jaccard": "Jaccard accuracy",
    "pearson": "Pearson r",
    "pearson_r": "Pearson r",
}


def summarise(run: Run) -> str:
    """Describe a finished run in plain lines."""
    from semeval_kit.run import read_json

    lines = [""]
    if run.estimate_file.is_file():
        lines += [describe_estimate(read_json(run.estimate_file)), ""]
    if run.score_file.is_file():
        lines += [_describe_score(run, read_json(run.score_file)), ""]
    if run.report_file.is_file():
        lines.append(f"report:  {run.report_file}")
    if run.zip_file.is_file():
        lines.append(f"zip:     {run.zip_file}")
    lines += ["", _next_step(run)]
    return "\n".join(lines)


def describe_estimate(estimate: dict[str, Any]) -> str:
    """The three readings side by side, with the one to believe marked."""
    metric = _NAMES.get(estimate["metric"], estimate["metric"])
    rows = [
        ("untuned (0.5, or the highest)", estimate["at_half"], ""),
        ("tuned, on the same rows", estimate["tuned_in_sample"], "optimistic"),
        ("tuned, cross-fitted", estimate["cross_fitted"], "expect this"),
    ]
    lines = [f"Out-of-fold {metric} on {estimate['n_examples']} rows (95% interval):"]
    for name, reading, remark in rows:
        interval = f"[{reading['low']:.4f}, {reading['high']:.4f}]"
        lines.append(f"  {name:<30} {reading['score']:.4f} {interval}  {remark}".rstrip())
    lines += [f"  note: {note}" for note in estimate["notes"]]
    return "\n".join(lines)


def _describe_score(run: Run, score: dict[str, Any]) -> str:
    lines = [f"Score on {score['gold']} (rules of {score['rules']}):"]
    for language in score["languages"]:
        figures = ", ".join(
            f"{_NAMES.get(name, name)} {value:.4f}" for name, value in language["metrics"].items()
        )
        lines.append(f"  {language['language']}: {figures}")
        lines += _describe_baselines(run, language)
    n_scored, n_counted = len(score["languages"]), score["denominator"]
    if n_counted > n_scored:
        lines.append(
            f"  On the leaderboard's average over {n_counted} languages the other "
            f"{n_counted - n_scored} count as 0."
        )
    if run.task.practice:
        lines.append("  This is practice data: its score says nothing about any leaderboard.")
    return "\n".join(lines)


def _describe_baselines(run: Run, language: dict[str, Any]) -> list[str]:
    metric = run.task.scoring.metrics[0]
    known = run.task.baselines_for(language["language"], metric)
    own = language["metrics"].get(metric, 0.0)
    nearest = sorted(known, key=lambda entry: abs(entry[0] - own))[:3]
    return [
        f"      published: {value:.4f}  {baseline.system} ({baseline.source})"
        for value, baseline in sorted(nearest, key=lambda entry: -entry[0])
    ]


def _next_step(run: Run) -> str:
    if run.task.practice:
        return (
            "Next: the real data. Put the organisers' CSV files into a folder and run\n"
            "  make submission TASK=semeval2025-task11-a LANGS=eng DATA=<folder> MODEL=<hub id>"
        )
    if run.zip_file.is_file():
        where = f" at {run.task.url}" if run.task.url else ""
        return f"Next: upload {run.zip_file.name}{where} (see README, 'Upload by hand')."
    return "Next: put the test files beside the others and run the same command for the zip."
