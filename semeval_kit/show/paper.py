"""The paper's folder: tables, a draft of sentences, and references."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import find_overlap
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run, write_atomic
from semeval_kit.show.answers import SPLITS, Answers, narrow_examples, read_answers, read_rule
from semeval_kit.show.compare import Resampling, compare_runs
from semeval_kit.show.findings import tabulate_confusion, tabulate_errors
from semeval_kit.show.results import N_RESAMPLES, RunResults, read_results
from semeval_kit.show.tables_of_runs import (
    group_seeds,
    show_field,
    tabulate_ablations,
    tabulate_data,
    tabulate_folds,
    tabulate_machine,
    tabulate_recipe,
    tabulate_seeds,
    tabulate_weights,
)
from semeval_kit.show.tables_of_scores import (
    describe_use,
    name_official_scores,
    tabulate_baselines,
    tabulate_floors,
    tabulate_gains,
    tabulate_labels,
    tabulate_languages,
    tabulate_main,
    tabulate_measures,
    tabulate_targets,
    tabulate_uploads,
)
from semeval_kit.show.tabulate import (
    Latex,
    Markdown,
    Table,
    escape_latex,
    escape_markdown,
    show_count,
    show_interval,
    show_number,
    show_seconds,
)
from semeval_kit.show.wording import name_encoder

AnswersBySplit = Mapping[str, Answers | None]
Tables = dict[str, list[Table]]

# LaTeX is full of braces, so templates use brackets that neither it nor Markdown has.
_DELIMITERS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}

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
    answers = {split: read_answers(run, split) for split in SPLITS}
    results = read_results(run, answers=answers, n_resamples=resampling.n_resamples)
    other_results = [read_results(other, ["dev"], n_resamples=0) for other in others]
    tables = _collect_tables(run, results, other_results, answers)
    tables["ablations"] = _tabulate_others(run, others, resampling, tell)
    facts = _collect_facts(run, results, other_results, answers)
    written = {"references.bib": facts["bibliography"].to_bibtex()}
    for name, latex in (("paper.tex", True), ("paper.md", False)):
        body = fill_template("paper.j2", facts, tables, latex)
        shell = {**facts, "body": body}
        written[name] = str(fill_template(f"{name}.j2", shell, tables, latex))
    paths = [run.paper_dir / name for name in ("paper.md", "paper.tex", "references.bib")]
    for path in paths:
        write_atomic(path, written[path.name])
    return paths


def load_jinja() -> Any:
    """The library that fills templates.

    Raises:
        KitError: it is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise KitError(
            "Reports, papers and cards need jinja2. Install it with: "
            "pip install 'semeval-kit[analysis]'"
        ) from error
    return jinja2


def read_template(name: str) -> str:
    """A file of this package's templates."""
    file = resources.files("semeval_kit.show").joinpath("templates", name)
    return file.read_text(encoding="utf-8")


def fill_template(
    name: str, facts: Mapping[str, Any], tables: Tables, latex: bool = False
) -> Markdown | Latex:
    """Fill a template of this package.

    Args:
        name: of the file under templates/.
        facts: values by name; text is escaped unless it is `Latex` or `Markdown`.
        tables: groups of tables by name, given to the template as `tables`.
        latex: LaTeX instead of Markdown.

    Raises:
        KitError: jinja2 is missing.
    """
    jinja2 = load_jinja()
    markup: type[Latex] | type[Markdown] = Latex if latex else Markdown
    escape: Callable[[str], str] = escape_latex if latex else escape_markdown
    environment = jinja2.Environment(
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, markup) else escape(str(value)),
        **_DELIMITERS,
    )
    environment.globals.update(_LATEX if latex else _MARKDOWN)
    drawn = {
        group: markup("\n".join(_draw(table, latex) for table in members))
        for group, members in tables.items()
    }
    text: str = environment.from_string(read_template(name)).render(**facts, tables=drawn)
    return markup(text)


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
        "n_models": run.n_models,
        "seeds": run.seeds,
        "per": "fold" if run.n_models == run.n_folds else "fold and seed",
        "scheme": run.scheme,
        "member": results.member,
        "members": list(run.settings.get("members", ())),
        "tuned": results.wording.tuned,
        "parameters": show_count(results.parameters),
        "seconds": show_seconds(results.seconds),
        "notes": results.estimate.get("notes", ()),
    }


@dataclass(frozen=True)
class Bibliography:
    """Entries of a .bib file, and which of them stand for what.

    Attributes:
        task_keys: citation keys of the task and its data.
        encoder_keys: encoder name -> its citation keys; none if the encoder is not known here.
        method_keys: citation keys of software and statistics.
    """

    entries: tuple[str, ...]
    task_keys: tuple[str, ...]
    encoder_keys: dict[str, tuple[str, ...]]
    method_keys: tuple[str, ...] = METHODS

    def to_bibtex(self) -> str:
        """The .bib file; what is not known is a comment that begins with TODO."""
        missing = [f"% TODO: BibTeX of the encoder {_comment(e)}" for e in self.unknown_encoders]
        if not self.task_keys:
            missing.insert(0, "% TODO: BibTeX of the task and its data (the task file has none)")
        return "\n\n".join([*missing, *self.entries]) + "\n"

    @property
    def unknown_encoders(self) -> tuple[str, ...]:
        """Encoders without an entry."""
        return tuple(name for name, keys in self.encoder_keys.items() if not keys)


def collect_citations(task_citations: Sequence[str], encoders: Sequence[str]) -> Bibliography:
    """Gather the entries that a system paper needs."""
    known = _read_known()
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
    found = re.match(r"\s*@\w+\s*\{\s*([A-Za-z0-9:._+/-]+)\s*,", entry)
    return found.group(1) if found else ""


def _collect_tables(
    run: Run, results: RunResults, others: Sequence[RunResults], answers: AnswersBySplit
) -> Tables:
    thresholds = read_rule(run)
    judged = answers["oof"] if "dev" in run.learnt_splits else answers["dev"] or answers["oof"]
    assert judged is not None
    groups = group_seeds([results, *others])
    return {
        "data": tabulate_data(results.task, _read_splits(run, answers)).pages(),
        "main": [tabulate_main(results)],
        "uploads": _if_any(tabulate_uploads(results)),
        "targets": _if_any(tabulate_targets(results)),
        "floors": _if_any(tabulate_floors(results)),
        "measures": [tabulate_measures(results)],
        "labels": [tabulate_labels(results, [split]) for split in results.splits],
        "languages": _if_any(tabulate_languages(results)),
        "baselines": _if_any(tabulate_baselines(results)),
        "thresholds": tabulate_gains(results, thresholds),
        "weights": _if_any(tabulate_weights(results)),
        "folds": [tabulate_folds(results)],
        "seeds": [tabulate_seeds(groups)] if any(len(group) > 1 for group in groups) else [],
        "recipe": [tabulate_recipe(results, others)],
        "machine": [tabulate_machine(results)],
        "confusion": _if_any(tabulate_confusion(results.task, judged)),
        "errors": [table for table in tabulate_errors(results.task, judged) if table.rows],
    }


def _if_any(table: Table) -> list[Table]:
    return [table] if table.rows else []


def _tabulate_others(
    run: Run,
    others: Sequence[Run],
    resampling: Resampling,
    tell: Callable[[str], None] | None,
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
    run: Run, results: RunResults, others: Sequence[RunResults], answers: AnswersBySplit
) -> dict[str, Any]:
    encoders = [one.encoder for one in (results, *others)]
    seeds = next(group for group in group_seeds([results, *others]) if results in group)
    readings = {
        name: _show_reading(results.reading(name))
        for name in ("at_half", "tuned_in_sample", "cross_fitted")
    }
    official = results.official if results.official.get("accepted") else {}
    readings["expected"] = _show_reading(results.expected)
    gain = results.estimate.get("gain") or [None, None, None]
    return {
        **collect_facts(run, results),
        "bibliography": collect_citations(run.task.citations, encoders),
        "encoder_name": results.encoder,
        "metric": results.metric_name,
        "decision": results.wording.decision,
        "readings": readings,
        "gain": f"{show_number(gain[0])} {show_interval(gain[1:])}".strip(),
        "has_test": results.split_score("test") is not None,
        "official": official,
        "official_scores": ", ".join(
            f"{name} {value}"
            for name, value in name_official_scores(official, results.task.kind).items()
        ),
        "overlaps": _describe_overlaps(_read_splits(run, answers)),
        "n_runs": 1 + len(others),
        "n_seeds": len(seeds) * (run.n_models // run.n_folds),
    }


def _describe_overlaps(splits: Mapping[str, Examples]) -> list[str]:
    learnt, *_ = splits.values()
    overlaps = {
        split: find_overlap(learnt, splits[split]) for split in ("dev", "test") if split in splits
    }
    return [f"{len(o.rows)} of {o.n_second} {split} texts" for split, o in overlaps.items()]


def _show_reading(reading: Mapping[str, Any]) -> str:
    if not reading:
        return ""
    return f"{show_number(reading['score'])} {show_interval((reading['low'], reading['high']))}"


def _draw(table: Table, latex: bool) -> str:
    if latex:
        return table.to_latex()
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)
    return f"**{escape_markdown(table.title)}**\n\n{table.to_markdown()}{notes}"


def _cite_latex(keys: Sequence[str]) -> Latex:
    return Latex(rf"~\cite{{{','.join(keys)}}}" if keys else "")


def _cite_markdown(keys: Sequence[str]) -> Markdown:
    return Markdown(f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else "")


def _list_latex(sentences: Sequence[str]) -> Latex:
    items = "\n".join(rf"\item {escape_latex(sentence)}" for sentence in sentences)
    return Latex(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}" if sentences else "")


_LATEX: dict[str, Any] = {
    "cite": _cite_latex,
    "bullets": _list_latex,
    "heading": lambda text: Latex(rf"\section{{{escape_latex(text)}}}"),
    "todo": lambda text: Latex(rf"\todo{{{escape_latex(text)}}}"),
}


def _list_markdown(sentences: Sequence[str]) -> Markdown:
    return Markdown("\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences))


_MARKDOWN: dict[str, Any] = {
    "cite": _cite_markdown,
    "bullets": _list_markdown,
    "heading": lambda text: Markdown(f"## {escape_markdown(text)}\n"),
    "todo": lambda text: Markdown(f"**TODO: {escape_markdown(text)}**"),
}


def _read_known() -> dict[str, str]:
    file = resources.files("semeval_kit.show").joinpath("templates", "known.bib")
    return {read_key(entry): entry for entry in split_entries(file.read_text(encoding="utf-8"))}


def _comment(text: str) -> str:
    return " ".join(text.split())
