"""The paper's folder: tables, a draft of sentences, and references."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import find_overlap
from semeval_kit.decision.rule import Thresholds
from semeval_kit.files import write_atomic
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import (
    ANSWERED,
    Answers,
    AnswersBySplit,
    narrow_examples,
    read_answers,
    read_rule,
)
from semeval_kit.show.compare import Resampling, compare_runs
from semeval_kit.show.mistakes import tabulate_confusion, tabulate_errors
from semeval_kit.show.pages import fill_template, group_tables, read_template
from semeval_kit.show.results import RunResults, read_results
from semeval_kit.show.scores import N_RESAMPLES
from semeval_kit.show.tables_of_comparisons import group_seeds, tabulate_ablations, tabulate_seeds
from semeval_kit.show.tables_of_runs import show_field, tabulate_data, tabulate_recipe
from semeval_kit.show.tables_of_scores import (
    describe_use,
    name_official_scores,
    tabulate_gains,
    tabulate_labels,
    tabulate_results,
)
from semeval_kit.show.tabulate import (
    Table,
    show_count,
    show_interval,
    show_number,
    show_reading,
    show_seconds,
)
from semeval_kit.show.wording import TUNED_RULES, name_encoder, name_pooling

Tables = dict[str, list[Table]]

# Patterns of an encoder's name -> keys in templates/known.bib; the first that matches decides.
_ENCODERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Models further trained for African languages have papers of their own.
    (r"afro|afri", ()),
    (r"^embedded$|minilm", ("wang2020minilm", "reimers2019sentence")),
    (r"sentence-transformers/.*mpnet|all-mpnet", ("song2020mpnet", "reimers2019sentence")),
    (r"mpnet", ("song2020mpnet",)),
    (r"mdeberta|deberta-?v3", ("he2021debertav3", "he2021deberta")),
    (r"deberta", ("he2021deberta",)),
    (r"modernbert", ("warner2024modernbert",)),
    (r"bertweet", ("nguyen2020bertweet",)),
    (r"twitter-roberta", ("barbieri2020tweeteval", "liu2019roberta")),
    (r"xlm-?r", ("conneau2020unsupervised",)),
    (r"distilroberta", ("sanh2019distilbert", "liu2019roberta")),
    (r"roberta", ("liu2019roberta",)),
    (r"distilbert", ("sanh2019distilbert",)),
    (r"rembert", ("chung2021rethinking",)),
    (r"labse", ("feng2022labse",)),
    (r"albert", ("lan2020albert",)),
    (r"electra", ("clark2020electra",)),
    (r"(^|/)bert[-_](tiny|mini|small|medium)|bert_uncased_l-", ("turc2019well", "devlin2019bert")),
    (r"^(google-bert/)?bert-(base|large)", ("devlin2019bert",)),
)
METHODS = ("wolf2020transformers", "efron1993introduction", "yeh2000more")


def write_paper(
    run: Run,
    others: Sequence[Run] = (),
    *,
    resampling: Resampling | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write paper.md, paper.tex and references.bib into the run's folder.

    Returns:
        The three paths.

    Raises:
        KitError: a stage has not run, or jinja2 is missing.
    """
    resampling = resampling or Resampling(n_resamples=N_RESAMPLES)
    others = [other for other in others if other.path.resolve() != run.path.resolve()]
    answers = {split: read_answers(run, split) for split in ANSWERED}
    results = read_results(run, answers=answers, n_resamples=resampling.n_resamples)
    other_results = [read_results(other, ["dev"], n_resamples=0) for other in others]
    splits = _read_splits(run, answers)
    judged = answers["oof"] if "dev" in run.learnt_splits else answers["dev"] or answers["oof"]
    assert judged is not None
    tables = _collect_tables(read_rule(run), [results, *other_results], splits, judged)
    tables["ablations"] = _tabulate_others(run, others, resampling, tell)
    facts = _collect_facts(run, [results, *other_results], splits)
    written = {"references.bib": facts["bibliography"].to_bibtex()}
    for name, latex in (("paper.tex", True), ("paper.md", False)):
        body = fill_template("paper.j2", facts, tables, latex)
        shell = {**facts, "body": body}
        written[name] = str(fill_template(f"{name}.j2", shell, tables, latex))
    paths = [run.paper_dir / name for name in ("paper.md", "paper.tex", "references.bib")]
    for path in paths:
        write_atomic(path, written[path.name])
    return paths


def collect_facts(run: Run, results: RunResults) -> dict[str, Any]:
    """What card and paper say of a run in words."""
    return {
        "name": run.name,
        "task": results.task,
        "labels": results.task.all_labels,
        "languages": ", ".join(run.languages),
        "train_languages": ", ".join(run.settings["train_languages"]),
        "train_splits": " + ".join(run.learnt_splits),
        "n_train": run.n_learnt_rows,
        "n_held_out": run.n_held_out_rows,
        "use_of_dev": describe_use(results, "dev"),
        "encoder": name_encoder(results.encoder),
        "recipe": {field: show_field(results, field) for field in results.recipe},
        "pooling": name_pooling(str(results.recipe.get("pooling"))),
        "n_models": run.n_models,
        "seeds": run.seeds,
        "per": "fold" if run.n_models == run.n_folds else "fold and seed",
        "scheme": run.scheme,
        "member": results.member,
        "members": list(run.settings.get("members", ())),
        "outputs": results.wording.outputs,
        "tuned": results.wording.tuned,
        "parameters": show_count(results.parameters),
        "seconds": show_seconds(results.seconds),
        "alarms": results.alarms,
        "notes": results.estimate.get("notes", ()),
    }


def _collect_tables(
    rule: Thresholds,
    runs: Sequence[RunResults],
    splits: Mapping[str, Examples],
    judged: Answers,
) -> Tables:
    """The tables of the first run, beside the others, by what they are about."""
    (results, *others), groups = runs, group_seeds(runs)
    tables = group_tables(
        [
            *tabulate_results(results),
            *tabulate_data(results.task, splits).pages(),
            *(tabulate_labels(results, [split]) for split in results.splits),
            tabulate_recipe(results, others),
            tabulate_confusion(results.task, judged),
        ]
    )
    return tables | {
        "thresholds": tabulate_gains(results, rule),
        "seeds": [tabulate_seeds(groups)] if any(len(group) > 1 for group in groups) else [],
        "errors": [table for table in tabulate_errors(results.task, judged) if table.rows],
    }


def _tabulate_others(
    run: Run, others: Sequence[Run], resampling: Resampling, tell: Callable[[str], None] | None
) -> list[Table]:
    tables = []
    for split in ("oof", "dev") if others else ():
        runs = (run, *others)
        if split == "dev" and not all(
            one.probs_file("dev", language).is_file() for one in runs for language in one.languages
        ):
            continue
        comparison = compare_runs(runs, split, reference=run.name, resampling=resampling, tell=tell)
        tables.append(tabulate_ablations(comparison, run.name))
    return tables


def _read_splits(run: Run, answers: AnswersBySplit) -> dict[str, Examples]:
    """The rows learnt from, and the rows of dev and test with labels where they are known."""
    splits = {" + ".join(run.learnt_splits): narrow_examples(run, run.read_learnt())}
    for split in ("dev", "test"):
        given = answers[split]
        if split in run.learnt_splits:
            continue
        if given is not None:
            splits[split] = given.examples
        elif all(run.probs_file(split, code).is_file() for code in run.languages):
            splits[split] = narrow_examples(run, run.read_split(split))
    return splits


def _collect_facts(
    run: Run, runs: Sequence[RunResults], splits: Mapping[str, Examples]
) -> dict[str, Any]:
    results, encoders = runs[0], [one.encoder for one in runs]
    seeds = next(group for group in group_seeds(runs) if results in group)
    learnt, *_ = splits.values()
    overlaps = {s: find_overlap(learnt, splits[s]) for s in ("dev", "test") if s in splits}
    readings = {
        name: show_reading(results.reading(name))
        for name in ("at_half", "tuned_in_sample", "cross_fitted")
    }
    official = results.official if results.official.get("accepted") else {}
    readings["expected"] = show_reading(results.expected)
    gain = results.estimate.get("gain") or [None, None, None]
    return {
        **collect_facts(run, results),
        "bibliography": collect_citations(run.task.citations, encoders),
        "encoder_name": results.encoder,
        "metric": results.metric_name,
        "decision": TUNED_RULES.get(results.estimate.get("rule", ""), results.wording.decision),
        "readings": readings,
        "gain": f"{show_number(gain[0])} {show_interval(gain[1:])}".strip(),
        "has_test": results.split_score("test") is not None,
        "official": official,
        "official_scores": ", ".join(
            f"{name} {value}"
            for name, value in name_official_scores(official, results.task.kind).items()
        ),
        "overlaps": [
            f"{len(o.rows)} of {o.n_second} {split} texts" for split, o in overlaps.items()
        ],
        "n_runs": len(runs),
        "n_seeds": len(seeds) * (run.n_models // run.n_folds),
    }


@dataclass(frozen=True)
class Bibliography:
    """Entries of a .bib file, and which of them stand for what.

    Attributes:
        task_keys: citation keys of the task and its data.
        encoder_keys: encoder name -> its citation keys; none if the encoder is not known here.
    """

    entries: tuple[str, ...]
    task_keys: tuple[str, ...]
    encoder_keys: dict[str, tuple[str, ...]]

    def to_bibtex(self) -> str:
        """The .bib file; what is not known is a comment that begins with TODO."""
        unknown = [" ".join(name.split()) for name in self.unknown_encoders]
        missing = [f"% TODO: BibTeX of the encoder {name}" for name in unknown]
        if not self.task_keys:
            missing.insert(0, "% TODO: BibTeX of the task and its data (the task file has none)")
        return "\n\n".join([*missing, *self.entries]) + "\n"

    @property
    def unknown_encoders(self) -> tuple[str, ...]:
        """Encoders without an entry."""
        return tuple(name for name, keys in self.encoder_keys.items() if not keys)


def collect_citations(task_citations: Sequence[str], encoders: Sequence[str]) -> Bibliography:
    """Gather the entries that a system paper needs."""
    known = {read_key(entry): entry for entry in split_entries(read_template("known.bib"))}
    encoder_keys = {name: find_encoder_keys(name) for name in dict.fromkeys(encoders)}
    task_entries = [entry.strip() for text in task_citations for entry in split_entries(text)]
    task_keys = [key for entry in task_entries if (key := read_key(entry))]
    wanted = dict.fromkeys([*(k for keys in encoder_keys.values() for k in keys), *METHODS])
    entries = [*task_entries, *(known[key] for key in wanted if key not in task_keys)]
    return Bibliography(tuple(entries), tuple(task_keys), encoder_keys)


def find_encoder_keys(encoder: str) -> tuple[str, ...]:
    """Citation keys of an encoder by its name; empty if it is not known here."""
    name = encoder.casefold().rstrip("/")
    # Of a folder only the last part says anything about the model.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        name = name.rpartition("/")[2]
    for pattern, keys in _ENCODERS:
        if re.search(pattern, name):
            return keys
    return ()


def split_entries(text: str) -> list[str]:
    """BibTeX entries of a text, each from its @ to where its braces close."""
    entries = []
    for start in (match.start() for match in re.finditer(r"^\s*@", text, re.MULTILINE)):
        depth = 0
        for place in range(text.index("@", start), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if text[place] == "}" and depth == 0:
                entries.append(text[start : place + 1].strip())
                break
    return entries


def read_key(entry: str) -> str:
    """The citation key of an entry; empty if there is none usable in a citation command."""
    match = re.match(r"\s*@\w+\s*\{\s*([A-Za-z0-9:._+/-]+)\s*,", entry)
    return match.group(1) if match else ""
