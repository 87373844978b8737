"""What would score higher: what is found in a run, with the command that tries it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from semeval_kit.data.texts import whole_texts
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.targets import answers_of_probs
from semeval_kit.decision.verdict import measure_cells
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import Answers, read_rule
from semeval_kit.show.figures.data import count_tokens
from semeval_kit.show.results import RunResults, find_history_metric
from semeval_kit.show.scores import LabelResult
from semeval_kit.show.wording import name_encoder, name_measure
from semeval_kit.task.codec import encode_labels
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC, is_low
from semeval_kit.task.task import Task, list_tasks

N_SHOWN = 3

# What is worth a finding: changes of loss, shares of cut texts, gains of a second member.
_LEAST_CHANGE = 0.01
_LEAST_CUT = 0.01
_LEAST_GAIN = 0.002
_FEW_POSITIVES = 100
_FAR = 0.2
_MOST_SIBLINGS = 12


@dataclass(frozen=True)
class Finding:
    """Something that may cost score.

    Attributes:
        title: in two or three words.
        sentence: what was found, with its numbers.
        commands: what to try, one after the other; DATA stands for the data folder.
    """

    title: str
    sentence: str
    commands: tuple[str, ...]


def list_findings(run: Run, results: RunResults, oof: Answers) -> tuple[Finding, ...]:
    """What would score higher, what is surest to help first; pages show the first `N_SHOWN`.

    None where every out-of-fold answer is right. A command stands with the first finding that asks
    for it.
    """
    if _is_perfect(results):
        return ()
    finders = (
        _judge_learning(run, results),
        _judge_epochs(run),
        _judge_cut_texts(run, oof),
        _judge_labels(run, results, oof),
        _judge_members(run, results, oof),
        _judge_thresholds(run, results),
        _judge_encoder(run, results),
    )
    return _name_once(finding for findings in finders for finding in findings)


def _is_perfect(results: RunResults) -> bool:
    """Whether the out-of-fold score cannot rise."""
    score, facts = results.split_score("oof"), METRIC_FACTS[results.metric]
    return score is not None and score.score == (
        facts.lowest if facts.low_is_better else facts.highest
    )


def _name_once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with each command once, and where it stands told by the others."""
    title_of: dict[str, str] = {}
    once = []
    for finding in findings:
        titles = [title_of[command] for command in finding.commands if command in title_of]
        left = tuple(command for command in finding.commands if command not in title_of)
        title_of |= dict.fromkeys(left, finding.title)
        sentence = finding.sentence
        if titles:
            told = f"the command of “{titles[0]}”"
            sentence += f" First {told}, then:" if left else f" T{told[1:]} tries that, too."
        once.append(replace(finding, sentence=sentence, commands=left))
    return tuple(once)


def write_command(run: Run, name: str, flags: str) -> str:
    """The command that makes the run again under another name with other flags."""
    recipe = f"submissions/{shlex.quote(run.name)}/{run.recipe_file.name}"
    return _write_run(run, name, flags, f" --recipe {recipe}")


def _write_run(run: Run, name: str, flags: str, recipe: str = "") -> str:
    """The command that trains on the run's task and languages under another name."""
    task = str(run.settings["task"])
    if task not in list_tasks():
        task = f"submissions/{shlex.quote(run.name)}/{run.task_file.name}"
    given = f"--task {task} --data DATA --langs {','.join(run.languages)}"
    given += _write_rows(run)
    name = shlex.quote(f"{run.name}-{name}")
    return f"semeval-kit run {given}{recipe} --run {name} {flags}"


def _write_rows(run: Run) -> str:
    """The flags that say what rows are learnt, where they are not the usual ones."""
    learnt, splits = run.settings["train_languages"], run.settings["train_splits"]
    task = run.task
    others = [code for code in task.train_languages if code not in run.languages]
    usual = others if task.cross_lingual else run.languages
    flags = "" if sorted(learnt) == sorted(usual) else f" --train-langs {','.join(learnt)}"
    return flags + ("" if list(splits) == ["train"] else f" --train-splits {','.join(splits)}")


def suggest_cause(run: Run) -> str:
    """What may be amiss where a model has not learnt, by what kind of member it is."""
    causes = {
        "linear": "n-grams do not tell these texts apart, or there are few rows",
        "frozen": "an untrained encoder does not tell these texts apart, or there are few rows",
        "external": "the files hold other rows or columns than they say, or were made for another "
        "purpose",
        "blend": "no member has learnt the task, or its members make the same mistakes",
    }
    trained = "too few epochs, a learning rate too low or too high, few rows"
    return f"Likely causes: {causes.get(run.member, trained)}."


def suggest_step(run: Run) -> str:
    """What to do then."""
    steps = {
        "linear": "fine-tune an encoder (--model embedded)",
        "frozen": "fine-tune an encoder (--model embedded)",
        "external": "see how the files were made",
        "blend": "train a member that is above what the run is held against",
    }
    return steps.get(run.member, "train it longer, or with another learning rate")


def _judge_learning(run: Run, results: RunResults) -> Iterator[Finding]:
    """A model below what needs no encoder: what may mend that before all else."""
    if results.learnt:
        return
    reason = results.estimate["verdict"]["reasons"][0]
    reason = reason[0].upper() + reason[1:]
    lr = results.resolved.get("lr") or results.recipe.get("lr")
    if run.member == "encoder" and lr:
        yield Finding(
            "Not learnt",
            f"{reason}. Try another learning rate than {lr:.3g}.",
            (write_command(run, "lower-lr", f"--lr {lr / 3:.2g}"),),
        )
    elif run.member != "encoder":
        step = suggest_step(run)
        yield Finding(
            "Not learnt",
            f"{reason}. {suggest_cause(run)} Next: {step}.",
            (_write_run(run, "encoder", "--model embedded"),),
        )


def _judge_epochs(run: Run) -> Iterator[Finding]:
    """Whether validation loss rises before the last epoch, or still falls in it.

    A loss that rises while the score does is no fault: the model is surer, and righter.
    """
    histories = [run.read_history(fold) for fold in range(run.n_folds)]
    n_epochs = min((len(history) for history in histories), default=0)
    rows = [[entry.get("val_loss") for entry in history[:n_epochs]] for history in histories]
    if n_epochs < 2 or any(value is None for row in rows for value in row):
        return
    losses = np.mean(np.array(rows, dtype=np.float64), axis=0)
    best, last = int(losses.argmin()), n_epochs - 1
    metric = find_history_metric(run.task, histories)
    scores = [np.mean([h[epoch].get(metric, np.nan) for h in histories]) for epoch in (best, last)]
    gained = (scores[1] < scores[0]) if is_low(metric) else (scores[1] > scores[0])
    if best < last and losses[last] > losses[best] * (1 + _LEAST_CHANGE) and not gained:
        scored = f"{name_measure(metric, run.task.kind)} {scores[0]:.3f}, then {scores[1]:.3f}"
        yield Finding(
            "Overfitting",
            f"Validation loss is lowest after epoch {best + 1} ({losses[best]:.3f}) and rises to "
            f"{losses[last]:.3f} by epoch {n_epochs}: fewer epochs, or more dropout"
            + ("." if np.isnan(scores[0]) else f" ({scored})."),
            (write_command(run, f"{best + 1}-epochs", f"--epochs {best + 1}"),),
        )
    elif best == last and losses[last] < losses[last - 1] * (1 - _LEAST_CHANGE):
        yield Finding(
            "Stopped early",
            f"Validation loss still falls in the last epoch, from {losses[last - 1]:.3f} to "
            f"{losses[last]:.3f} in epoch {n_epochs}: more epochs.",
            (write_command(run, f"{n_epochs + 2}-epochs", f"--epochs {n_epochs + 2}"),),
        )


def _judge_cut_texts(run: Run, oof: Answers) -> Iterator[Finding]:
    tokenizer, length = run.model_dir(0) / "tokenizer.json", run.recipe.get("max_length")
    if not length or not tokenizer.is_file():
        return
    n_cut = sum(n > length for n in count_tokens(tokenizer, whole_texts(oof.examples)))
    if n_cut > _LEAST_CUT * len(oof):
        longer = min(2 * int(length), 512)
        share = f"of {count_noun(len(oof), 'text')} ({100 * n_cut / len(oof):.0f}%)"
        yield Finding(
            "Cut texts",
            f"{count_noun(n_cut, f'{share} is', f'{share} are')} longer than {length} tokens and "
            "cut at the end.",
            (write_command(run, f"{longer}-tokens", f"--max-length {longer}"),),
        )


def _judge_labels(run: Run, results: RunResults, oof: Answers) -> Iterator[Finding]:
    """The weakest label, and why: few positives, low recall or precision, what it is taken for."""
    score = results.split_score("oof")
    if score is None or len(score.labels) < 2:
        return
    sign = -1 if results.wording.numeric else 1
    weakest = min(score.labels, key=lambda label: sign * label.score)
    parts = [f"{results.wording.label_score} {weakest.score:.3f}"]
    if weakest.positives is not None:
        n_rows = count_noun(len(oof), "row")
        parts.append(f"{count_noun(weakest.positives, 'positive')} of {n_rows}")
    if weakest.recall is not None and weakest.precision is not None:
        parts.append(f"recall {weakest.recall:.2f}, precision {weakest.precision:.2f}")
    answer = results.wording.answer
    sentence = f"“{weakest.label}” is the weakest {answer}: {', '.join(parts)}."
    if not results.wording.numeric:
        sentence += _describe_confusion(results.task, oof, weakest)
    cure, commands = _cure_label(run, results, weakest)
    yield Finding(f"Weakest {answer}", f"{sentence} {cure}", commands)


def _cure_label(run: Run, results: RunResults, weakest: LabelResult) -> tuple[str, tuple[str, ...]]:
    """What can help a label, by its own numbers: weighted positives, or a member that errs else."""
    n_rows = int(results.estimate.get("n_examples", 0))
    positives, precision, recall = weakest.positives, weakest.precision, weakest.recall
    few = positives is not None and positives < max(_FEW_POSITIVES, 0.05 * n_rows)
    missed = recall is not None and precision is not None and recall < precision
    weighable = results.member == "encoder" and results.wording.tuned
    if weighable and run.recipe.get("positive_weight", "none") == "none" and (few or missed):
        why = "Its positives are few" if few else "More of its rows are missed than wrongly called"
        weighted = write_command(run, "weighted", "--positive-weight sqrt")
        return f"{why}: weigh them.", (weighted,)
    look = "Its worst rows stand under Mistakes; "
    if results.member in ("linear", "frozen"):
        cure = f"{look}an encoder that is fine-tuned reads more of them, and can be blended."
        trained = _write_run(run, "encoder", "--model embedded")
        return cure, (trained, _write_blend(run, f"{run.name}-encoder", "with-encoder"))
    there = _list_encoders(run, results)
    lacking = [one for one in ("tfidf", "frozen:embedded", "embedded") if one not in there]
    if not lacking:
        return "Its worst rows stand under Mistakes.", ()
    other = lacking[0]
    cure = f"{look}a member that errs elsewhere ({other}) can be blended."
    name = {"embedded": "encoder"}.get(other, other.partition(":")[0])
    trained = _write_run(run, name, f"--model {other}")
    return cure, (trained, _write_blend(run, f"{run.name}-{name}", f"with-{name}"))


def _list_encoders(run: Run, results: RunResults) -> set[str]:
    """What the run is made of: its encoder, or those of a blend's members where they still lie."""
    if results.member != "blend":
        return {results.encoder}
    encoders = set()
    for place in results.weights.get("places", {}).values():
        try:
            encoders.add(str(Run(run.path / place).recipe["encoder"]))
        except KitError:  # not there, or damaged: `predict` says so
            continue
    return encoders


def _write_blend(run: Run, other: str, name: str) -> str:
    """The command that blends the run with another one beside it."""
    members = " ".join(f"submissions/{shlex.quote(one)}" for one in (run.name, other))
    return f"semeval-kit blend {members} --to {shlex.quote(f'{run.name}-{name}')}"


def _describe_confusion(task: Task, oof: Answers, weakest: LabelResult) -> str:
    """What rows of the label were answered as, where it was missed."""
    labels = task.all_labels
    column = labels.index(weakest.label)
    missed = np.flatnonzero((oof.gold[:, column] > 0) & (oof.tuned[:, column] <= 0))
    if not len(missed):
        return ""
    wrong = (oof.tuned[missed] > 0) & (oof.gold[missed] <= 0)
    counts = wrong.sum(axis=0)
    n_empty = int((oof.tuned[missed] <= 0).all(axis=1).sum())
    if max(n_empty, counts.max()) < 2:
        return ""
    if n_empty >= counts.max():
        return f" Of its {count_noun(len(missed), 'missed row')} {n_empty} got no label at all."
    other = labels[int(counts.argmax())]
    rows = count_noun(len(missed), "missed row")
    return f" Of its {rows} {counts.max()} were answered as “{other}”."


def _judge_members(run: Run, results: RunResults, oof: Answers) -> Iterator[Finding]:
    """Another run on the same rows whose mean with this one ranks them better.

    Ranks are what a blend's weights are chosen by: thresholds are tuned on its mean afterwards, and
    0.5 says little of members whose chances lean to one side.
    """
    own = _measure_ranks(results.task, oof)
    names = oof.probs.target_names
    best_gain, best = _LEAST_GAIN, None
    blended = set(results.weights.get("names", ()))
    for sibling in _find_siblings(run):
        if sibling.name in blended or sibling.settings.get("member") == "blend":
            continue
        try:
            probs = sibling.read_oof()
        except KitError:
            continue
        columns = [place for place, name in enumerate(probs.target_names) if name in names]
        if set(probs.keys) != set(oof.keys) or len(columns) != len(names):
            continue
        values = probs.order(oof.keys).values[:, columns]
        mean = replace(oof.probs, values=(oof.probs.values + values) / 2)
        gain = _measure_ranks(results.task, replace(oof, probs=mean)) - own
        if gain > best_gain:
            best_gain, best = gain, sibling
    if best is not None:
        yield Finding(
            "Another member",
            f"The mean of its {results.wording.outputs} with those of {best.name} ranks the rows "
            f"better: {_name_ranks(results.task)} {own + best_gain:.4f} out of fold instead of "
            f"{own:.4f}.",
            (_write_blend(run, best.name, "blend"),),
        )
        return
    names = (results.metric, "macro_f1", "weighted_f1", "val_loss")
    name = next((name for name in names if results.fold_values(name)), "val_loss")
    spread = results.fold_values(name)
    if results.member == "encoder" and len(spread) > 1:
        n_seeds = run.n_models // run.n_folds
        seed = int(run.recipe.get("seed", 0)) + n_seeds
        seeds = count_noun(n_seeds, "seed")
        title = "validation loss" if name == "val_loss" else name_measure(name, results.task.kind)
        yield Finding(
            "More members",
            f"This is one encoder with {seeds}; its folds' {title} lies between "
            f"{min(spread):.3f} and {max(spread):.3f}. Members that err elsewhere even that out: "
            "another encoder, another seed, n-grams (--model tfidf).",
            (
                write_command(run, f"seed-{seed}", f"--seed {seed}"),
                _write_blend(run, f"{run.name}-seed-{seed}", f"with-seed-{seed}"),
            ),
        )


def _measure_ranks(task: Task, oof: Answers) -> float:
    """How well the rows are ranked, the mean over targets and languages."""
    probs = oof.probs
    values = answers_of_probs(task.targets[0], probs.values)
    targets = encode_labels(task, oof.gold)
    rows = OofRows.of(values, targets, probs.languages, probs.target_names)
    cells = measure_cells(rows, task.kind in NUMERIC)
    return float(np.nanmean(cells)) if np.isfinite(cells).any() else 0.0


def _name_ranks(task: Task) -> str:
    return "mean correlation" if task.kind in NUMERIC else "mean average precision"


def _find_siblings(run: Run) -> list[Run]:
    """Finished runs of the same task beside this one."""
    folders = sorted(run.path.absolute().parent.iterdir())
    siblings = [Run(path) for path in folders if path.name != run.path.absolute().name]
    return [
        sibling
        for sibling in siblings
        if sibling.settings_file.is_file()
        and sibling.estimate_file.is_file()
        and sibling.settings.get("task") == run.settings["task"]
    ][:_MOST_SIBLINGS]


def _judge_thresholds(run: Run, results: RunResults) -> Iterator[Finding]:
    """Thresholds far from 0.5: the probabilities lean to one side."""
    gain = results.estimate.get("gain")
    if not results.wording.tuned or not gain or results.member != "encoder":
        return
    thresholds = read_rule(run)
    if thresholds.intensity is not None and thresholds.intensity.method == "expected_value":
        return
    far = [
        (name, float(cut))
        for name, cut in zip(thresholds.target_names, thresholds.joint, strict=True)
        if abs(cut - 0.5) > _FAR
    ]
    if far:
        far.sort(key=lambda pair: -abs(pair[1] - 0.5))
        shown = ", ".join(f"{name} {cut:.2f}" for name, cut in far[:3])
        every = f"of {count_noun(len(thresholds.target_names), 'threshold')}"
        yield Finding(
            "Thresholds far from 0.5",
            f"{count_noun(len(far), f'{every} lies', f'{every} lie')} far from 0.5 ({shown}); "
            f"tuning all gains {gain[0]:+.4f}. Weighted positives bring the probabilities nearer.",
            (write_command(run, "weighted", "--positive-weight sqrt"),),
        )


def _judge_encoder(run: Run, results: RunResults) -> Iterator[Finding]:
    """The nearest published result that is better, for the embedded encoder."""
    score = results.split_score("test") or results.split_score("oof")
    if (
        score is None
        or results.encoder != "embedded"
        or len(score.languages) != 1
        or results.low_is_better
    ):
        return
    ((language, ours),) = score.languages.items()
    better = [pair for pair in run.task.baselines_for(language, results.metric) if pair[0] > ours]
    if better:
        value, baseline = min(better, key=lambda pair: pair[0])
        yield Finding(
            "A larger encoder",
            f"{name_encoder(results.encoder)} is small; the next better published result is "
            f"{value:.4f} ({baseline.system}), {value - ours:.4f} above this run.",
            (write_command(run, "base", "--model roberta-base"),),
        )
