"""`predict`: labels and probabilities of the texts that people hand to it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from semeval_kit.cli.options import fold_option, open_run, run_argument, say, texts_option
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun

if TYPE_CHECKING:
    from semeval_kit.run.directory import Run
    from semeval_kit.show.predictions import Prediction


_NAMED = 3

# Name and text.
Item = tuple[str, str]

# Id, text and language; the language is empty for thresholds over all.
Row = tuple[str, str, str]
MOST_TEXTS = 200


@click.command(
    epilog="\b\nExample:\n"
    '  semeval-kit predict submissions/my-run "What a day!" "Who is there?"\n'
    "  semeval-kit predict submissions/my-run --file texts.txt --format csv > labels.csv\n"
    "  cat texts.txt | semeval-kit predict submissions/my-run - --format jsonl\n"
)
@run_argument
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@texts_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
    help="csv is for spreadsheets and guards against formulas; jsonl keeps texts as they are.",
)
@click.option("--language", help="Whose thresholds decide. Default: the run's, if it has one.")
@fold_option
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Texts that are read before the first is answered.",
)
def predict(
    run_path: Path,
    texts: tuple[str, ...],
    file: Path | None,
    format_: str,
    language: str | None,
    fold: int | None,
    batch_size: int,
) -> None:
    """Give labels and probabilities to texts, by a run's models and thresholds.

    Texts are arguments, lines of --file, or lines of standard input (-). Every text gets one line
    of output, in order; a blank one gets no label, and that is said. Where the task reads pairs or
    contexts, these follow the text in the same line, with a tab between.
    """
    from semeval_kit.run.members import check_language, load_models
    from semeval_kit.show.predictions import Vocabulary, predict_items, spell_predictions

    run = open_run(run_path)
    code = check_language(run, language, say)
    items = read_items(run, texts, file, code)
    if items is None:
        raise click.UsageError("give texts, --file, or - to read lines from standard input.")
    models = load_models(run, fold, say, code)
    predictions = predict_items(
        items, models.probs, lambda probs: models.decide(probs, code), batch_size
    )
    vocabulary = Vocabulary(run.task.kind, models.target_names, run.task.all_labels)
    blanks: list[str] = []
    width = shutil.get_terminal_size((100, 24)).columns
    for line in spell_predictions(_note_blanks(predictions, blanks), format_, vocabulary, width):
        # Bytes, so that texts leave as UTF-8 whatever the terminal's encoding is.
        click.echo(line.encode("utf-8"))
    if blanks:
        named = ", ".join(blanks[:_NAMED]) + (", ..." if len(blanks) > _NAMED else "")
        count = count_noun(len(blanks), "text is", "texts are")
        say(f"{count} blank and got no label: {named}")


def read_items(
    run: Run, texts: Sequence[str], file: Path | None, language: str
) -> Iterable[Item] | None:
    """The texts with a name each: the row's id, or the number of the text or line.

    A single "-" among the texts means standard input. A file that ends in .csv or .tsv is spelled
    as the task says, of the given language; others have a text on each line.

    Returns:
        None if nothing was given and standard input is a terminal.

    Raises:
        KitError: arguments and file are given both, or a text is not UTF-8.
    """
    if texts and file:
        raise click.UsageError("give texts or --file, not both.")
    if file is not None and str(file) != "-":
        is_table = file.suffix.lower() in (".csv", ".tsv")
        return _read_table(run, file, language) if is_table else _read_path(file)
    if file is not None or tuple(texts) == ("-",):
        return read_lines(sys.stdin.buffer, "standard input")
    if texts:
        return [(str(n), _checked(text, n)) for n, text in enumerate(texts, start=1)]
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return read_lines(sys.stdin.buffer, "standard input")


def read_lines(stream: BinaryIO, place: str) -> Iterator[Item]:
    """One text per line, ended by LF or CRLF; every other character belongs to the text.

    Raises:
        KitError: a line is not UTF-8.
    """
    for number, line in enumerate(stream, start=1):
        bare = line.removesuffix(b"\n")
        bare = bare.removesuffix(b"\r") if bare != line else bare
        if number == 1:
            bare = bare.removeprefix(b"\xef\xbb\xbf")
        try:
            yield str(number), bare.decode("utf-8")
        except UnicodeDecodeError as error:
            raise KitError(
                f"{place}, line {number}: not UTF-8 (byte {error.start + 1}). Save it as UTF-8."
            ) from error


def find_rows(run: Run, given: dict[str, Any], language: str) -> tuple[list[Row], str]:
    """The rows to explain, and the name of the files.

    Raises:
        click.UsageError: nothing is asked for, too much, or two things at once.
        KitError: a file cannot be read.
    """
    has_texts = bool(given["texts"] or given["file"])
    picked = bool(given["rows"] or given["ids"])
    if has_texts and (given["split"] or picked or given["sample"]):
        raise click.UsageError("give texts of your own or rows of a split, not both.")
    if picked and given["sample"]:
        raise click.UsageError("--global draws its rows itself: leave --rows and --ids out.")
    if has_texts:
        return _read_own(run, given, language), given["name"] or "texts"
    if not picked and not given["sample"]:
        raise click.UsageError(
            "give --text, --file, --split with --rows or --ids, or --global with a number of rows."
        )
    split = given["split"] or "dev"
    rows = _read_split(run, split, language)
    if given["sample"]:
        return _draw(rows, given["sample"], given["seed"]), given["name"] or f"global-{split}"
    return _limited(_pick(rows, given["rows"], given["ids"], split)), given["name"] or split


def _note_blanks(found: Iterable[Prediction], blanks: list[str]) -> Iterator[Prediction]:
    for prediction in found:
        if prediction.probs is None:
            blanks.append(prediction.name)
        yield prediction


def _read_path(file: Path) -> Iterator[Item]:
    try:
        with file.open("rb") as stream:
            yield from read_lines(stream, str(file))
    except OSError as error:
        raise KitError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error


def _read_table(run: Run, file: Path, language: str) -> list[Item]:
    from semeval_kit.data.examples import read_file
    from semeval_kit.run.members import join_inputs

    languages = run.languages
    if not language and len(languages) > 1:
        raise KitError(f"{file}: give --language, one of {', '.join(languages)}.")
    examples = read_file(run.task, file, language or languages[0], "test", labelled=False)
    return list(zip(examples.ids, join_inputs(examples), strict=True))


def _checked(text: str, number: int) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise KitError(f"text {number}: not UTF-8. Check the terminal's encoding.") from error
    return text


def _read_own(run: Run, given: dict[str, Any], language: str) -> list[Row]:
    from semeval_kit.run.members import check_language

    code = language or check_language(run, None, say)
    rows = []
    for name, text in read_items(run, given["texts"], given["file"], code) or []:
        rows.append((f"Text {name}" if name.isdigit() else name, text, code))
        _limited(rows)
    if not rows:
        raise click.UsageError("there is no text in what was given.")
    return rows


def _read_split(run: Run, split: str, language: str) -> list[Row]:
    examples = run.read_train() if split == "train" else run.read_split(split)
    rows = [
        row
        for row in zip(examples.ids, examples.texts, examples.languages, strict=True)
        if not language or row[2] == language
    ]
    if not rows:
        raise click.UsageError(f"{split} has no row in language '{language}'.")
    return rows


def _pick(rows: Sequence[Row], numbers: str | None, ids: str | None, split: str) -> list[Row]:
    picked = []
    for place in _parse_rows(numbers or ""):
        if place > len(rows):
            raise click.UsageError(f"--rows {place}: {split} has {count_noun(len(rows), 'row')}.")
        picked.append(rows[place - 1])
    by_id = {row[0]: row for row in rows}
    for id_ in filter(None, (part.strip() for part in (ids or "").split(","))):
        if id_ not in by_id:
            raise click.UsageError(f"--ids {id_}: no row of {split} has this id.")
        picked.append(by_id[id_])
    if not picked:
        raise click.UsageError("--rows and --ids name no row.")
    return picked


def _parse_rows(text: str) -> list[int]:
    places: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) < 1:
            raise click.UsageError(
                f"--rows '{part}': expected a row such as 3 or rows such as 3-7."
            )
        end = int(last) if dash else int(first)
        if end - int(first) >= MOST_TEXTS:
            raise click.UsageError(f"--rows '{part}': at most {MOST_TEXTS} rows at a time.")
        places += range(int(first), end + 1)
    return places


def _limited(rows: list[Row]) -> list[Row]:
    if len(rows) > MOST_TEXTS:
        raise click.UsageError(
            f"more than {MOST_TEXTS} texts: a page of so many is of no use. Give fewer, or use "
            "--global for a view over many rows."
        )
    return rows


def _draw(rows: Sequence[Row], size: int, seed: int) -> list[Row]:
    """A sample without replacement, in the order of the file."""
    import numpy as np

    if size >= len(rows):
        return list(rows)
    drawn = np.random.default_rng(seed).choice(len(rows), size=size, replace=False)
    return [rows[int(place)] for place in sorted(drawn)]
