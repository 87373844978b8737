"""The command `predict`: labels and probabilities of any text."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from semeval_kit.cli.options import say

if TYPE_CHECKING:
    from semeval_kit.show.predictions import Prediction

_EPILOG = """\b
Example:
  semeval-kit predict submissions/my-run "What a day!" "Who is there?"
  semeval-kit predict submissions/my-run --file texts.txt --format csv > labels.csv
  cat texts.txt | semeval-kit predict submissions/my-run - --format jsonl
"""
_NAMED = 3


@click.command(epilog=_EPILOG)
@click.argument(
    "run_path", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="One text per line; or the organisers' layout, if it ends in .csv or .tsv.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
    help="csv is for spreadsheets and guards against formulas; jsonl keeps texts as they are.",
)
@click.option("--language", help="Whose thresholds decide. Default: the run's, if it has one.")
@click.option("--fold", type=click.IntRange(0), help="Only this fold's model. Default: the mean.")
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
    of output, in order; a blank one gets no label, and that is said.
    """
    from semeval_kit.cli.run_models import check_language, load_models
    from semeval_kit.cli.texts import read_items
    from semeval_kit.run.directory import Run
    from semeval_kit.show.predictions import Vocabulary, predict_items, spell_predictions

    run = Run.open(run_path)
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
        count = "1 text is" if len(blanks) == 1 else f"{len(blanks)} texts are"
        say(f"{count} blank and got no label: {named}")


def _note_blanks(found: Iterable[Prediction], blanks: list[str]) -> Iterator[Prediction]:
    for prediction in found:
        if prediction.probs is None:
            blanks.append(prediction.name)
        yield prediction
