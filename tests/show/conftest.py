"""A finished run without torch: made-up texts, labels and probabilities in the real file formats.

`make_run(folder, ...)` lays one down and returns it; runs in one folder with the same kind and
languages share their data, so that they can be compared row by row. `made_run` is one of each test
session: three folds, English, with gold labels of the test split.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from semeval_kit.files import keep_files, read_json, write_json, write_kept
from semeval_kit.probs import Probs, read_probs, write_probs
from semeval_kit.run.directory import Run, spell_folds
from semeval_kit.run.layout import Frozen
from semeval_kit.training.recipe import Recipe

if TYPE_CHECKING:
    from semeval_kit.data.examples import Examples
    from semeval_kit.decision.rule import Thresholds
    from semeval_kit.task.task import Task

LABELS = ("anger", "fear", "joy", "sadness", "surprise")
RATES = (0.2, 0.45, 0.3, 0.3, 0.15)
ROWS = {"train": 150, "dev": 48, "test": 60}
HOSTILE = (
    "<img src=x onerror=alert(1)> and </script><script>alert(2)</script>",
    "=1+1",
    '=HYPERLINK("http://localhost:9/x","click")',
    "wordwithoutanyblank" * 20,
    "\u202eright to left \u202c \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "100% of $5 & #1_under {braces} ~tilde^ back\\slash | pipe `tick`",
    'two\nlines, and a "quote"',
)
KINDS = {
    "multilabel": ("columns", ("macro_f1", "micro_f1"), "pred_{lang}.csv"),
    "intensity": ("columns", ("pearson_r",), "pred_{lang}.csv"),
    "singlelabel": ("name", ("accuracy", "weighted_f1"), "pred_{lang}.csv"),
    "regression": ("columns", ("spearman", "rmse"), "pred_{lang}.csv"),
}
RunMaker = Callable[..., Run]


@pytest.fixture(scope="session")
def make_run() -> RunMaker:
    """The function that lays down a finished run."""
    return lay_run


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished multi-label run; tests that write into it should copy it first."""
    return lay_run(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs by name: weak, strong and its twin of another seed on the same rows; each kind."""
    folder = tmp_path_factory.mktemp("several")
    return {
        "weak": lay_run(folder, name="weak", quality=0.6, encoder="prajjwal1/bert-tiny"),
        "strong": lay_run(folder, name="strong", quality=1.8),
        "strong-2": lay_run(folder, name="strong-2", quality=1.8, seed=1),
        "intensity": lay_run(folder, name="intensity", kind="intensity"),
        "single": lay_run(folder, name="single", kind="singlelabel", folds=2),
        "numbers": lay_run(folder, name="numbers", kind="regression"),
        "two-languages": lay_run(folder, name="two-languages", languages=("eng", "afr")),
    }


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is surest and most wrong about the HOSTILE texts, so that pages show them."""
    from semeval_kit.task.codec import encode_labels

    run = lay_run(tmp_path_factory.mktemp("hostile"))
    train = run.read_train()
    targets = encode_labels(run.task, train.labels)
    row_of = {id_: row for row, id_ in enumerate(train.ids)}
    for fold in range(run.n_folds):
        probs = read_probs(run.oof_file(fold))
        for place, id_ in enumerate(probs.ids):
            if row_of[id_] < len(HOSTILE):
                probs.values[place] = np.where(targets[row_of[id_]] == 1, 0.001, 0.999)
        write_probs(run.oof_file(fold), probs)
    _lay_decisions(run, train, run.read_oof())
    return run


def lay_run(
    folder: Path,
    *,
    name: str = "demo",
    quality: float = 1.2,
    seed: int = 0,
    kind: str = "multilabel",
    languages: Sequence[str] = ("eng",),
    folds: int = 3,
    encoder: str = "embedded",
    gold: bool = True,
    scored: bool = True,
    holdout: float = 0.0,
    recipe: dict[str, object] | None = None,
) -> Run:
    """Lay down a finished run under `folder/submissions/name`.

    Args:
        folder: holds the data too, under `data-<kind>`; `afr` has no label surprise.
        name: of the run.
        quality: how well probabilities follow the labels; 0 is noise, 2 nearly right.
        seed: of the probabilities and of the recipe; the data do not depend on it.
        kind: multilabel, intensity, singlelabel or regression.
        languages: of training and prediction.
        folds: number of folds.
        encoder: named in the recipe and in done.json.
        gold: lay the labels of the test split beside the data.
        scored: write score.json (needs gold).
        holdout: share held out instead of folds.
        recipe: more recipe fields.
    """
    text = task_text(kind, languages)
    data = folder / f"data-{kind}-{'-'.join(languages)}{'' if gold else '-nogold'}"
    if not data.is_dir():
        _write_data(data, kind, languages, "gold" if gold else "kept-back")
    fields = {"folds": folds, "holdout": holdout, "epochs": 4, **(recipe or {})}
    config = Recipe(encoder=encoder, seed=seed, **fields)
    settings = _settings(name, kind, languages, data, seed)
    if config.holdout_split:
        settings["train_splits"] = ["train", config.holdout_split]
    run = Run.create(folder / "submissions" / name, Frozen(text, config.frozen(), settings))
    rng = np.random.default_rng([seed, int(quality * 1000)])
    train, oof = _lay_folds(run, rng, quality, encoder)
    thresholds = _lay_decisions(run, train, oof)
    for split in ("dev", "test"):
        _lay_split(run, rng, quality, split, thresholds)
    if kind != "regression":
        _lay_submission(run, data / "gold" if gold and scored else None)
    return run


def task_text(kind: str, languages: Sequence[str] = ("eng",)) -> str:
    """A task file of the kind, for the files that `lay_run` writes."""
    layout, metrics, member = KINDS[kind]
    listed = json.dumps(list(languages))
    own = 'afr = ["anger", "fear", "joy", "sadness"]\n' if "afr" in languages else ""
    label_column = 'label_column = "emotion"\n' if layout == "name" else ""
    return f'''name = "made-{kind}"
title = "A made-up {kind} task, 100% for tests & nothing else"
kind = "{kind}"
{"range = [0, 10]" if kind == "regression" else ""}
url = "https://example.org/made"
train_languages = {listed}
predict_languages = {listed}
citations = ["""
@inproceedings{{made2025task,
  title = {{A Made-Up Task}},
  author = {{Nobody, N.}},
  year = {{2025}},
}}
"""]

[labels]
default = {json.dumps(list(LABELS))}
[labels.by_language]
{own}
[data]
label_layout = "{layout}"
{label_column}
[data.files]
train = ["train/{{lang}}.csv"]
dev = ["dev/{{lang}}.csv"]
test = ["test/{{lang}}.csv"]
gold = ["gold/{{lang}}.csv"]

[submission]
member = "{member}"
label_layout = "{layout}"
{label_column}
[scoring]
metrics = {json.dumps(list(metrics))}
languages = {listed}
'''


def _write_data(data: Path, kind: str, languages: Sequence[str], gold_folder: str) -> None:
    rng = np.random.default_rng(2025)
    words = ("rain", "door", "bus", "late", "we", "sang", "an", "old", "dog", "slept", "today")
    for language in languages:
        labels = LABELS[:4] if language == "afr" else LABELS
        for split, n_rows in ROWS.items():
            ids = [f"{language}_{split}_{row:04d}" for row in range(n_rows)]
            texts = [" ".join(rng.choice(words, size=rng.integers(3, 25))) for _ in ids]
            texts = [f"{text} {row}" for row, text in enumerate(texts)]
            texts[: len(HOSTILE)] = HOSTILE
            values = _draw_labels(rng, kind, n_rows, len(labels))
            known = split != "test"
            head = ["emotion"] if kind == "singlelabel" else list(labels)
            cells = _spell(values, kind, labels)
            blank = [[""] * len(head)] * n_rows
            rows = [
                [i, t, *c] for i, t, c in zip(ids, texts, cells if known else blank, strict=True)
            ]
            _write_csv(data / split / f"{language}.csv", ["id", "text", *head], rows)
            if not known:
                gold = [[i, *c] for i, c in zip(ids, cells, strict=True)]
                _write_csv(data / gold_folder / f"{language}.csv", ["id", *head], gold)


def _draw_labels(rng: np.random.Generator, kind: str, n_rows: int, n_labels: int) -> np.ndarray:
    rates = np.array(RATES[:n_labels])
    if kind == "singlelabel":
        return np.eye(n_labels)[rng.choice(n_labels, size=n_rows, p=rates / rates.sum())]
    if kind == "regression":
        return rng.uniform(0, 10, size=(n_rows, n_labels)).round(2)
    present = rng.random((n_rows, n_labels)) < rates
    return present * (rng.integers(1, 4, size=present.shape) if kind == "intensity" else 1)


def _spell(values: np.ndarray, kind: str, labels: Sequence[str]) -> list[list[str]]:
    if kind == "singlelabel":
        return [[labels[int(row.argmax())]] for row in values]
    if kind == "regression":
        return [[f"{value:.2f}" for value in row] for row in values]
    return [[str(int(value)) for value in row] for row in values]


def _settings(
    name: str, kind: str, languages: Sequence[str], data: Path, seed: int
) -> dict[str, object]:
    files = sorted((data / "train").glob("*.csv"))
    return {
        "name": name,
        "task": f"made-{kind}",
        "languages": list(languages),
        "train_languages": list(languages),
        "data": str(data),
        "train_splits": ["train"],
        "seed": seed,
        "created": "2025-01-31T12:00:00+00:00",
        "versions": {
            "python": "3.13.1",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "accelerate": "1.15.0",
            "numpy": "2.4.0",
        },
        "machine": {
            "cpu": "A made-up CPU",
            "cores": 2,
            "memory_gb": 8.0,
            "device": "cpu",
            "threads": 2,
        },
        "data_sha256": {
            str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }


def _make_probs(
    task: Task, examples: Examples, rng: np.random.Generator, quality: float, gold: np.ndarray
) -> Probs:
    """Probs that follow the gold targets `(n, C)` with noise; over-confident, as models are."""
    from semeval_kit.task.codec import encode_labels, target_names

    targets = np.nan_to_num(encode_labels(task, gold))
    logits = quality * (4 * targets - 2.6) + rng.normal(0, 1.6, size=targets.shape)
    if task.kind == "regression":
        values = np.clip(targets + rng.normal(0, 0.4 / (1 + quality), size=targets.shape), 0, 1)
    elif task.kind == "singlelabel":
        powers = np.exp(logits)
        values = powers / powers.sum(axis=1, keepdims=True)
    else:
        values = 1 / (1 + np.exp(-logits))
    return Probs(examples.ids, examples.languages, target_names(task), values)


def _lay_folds(
    run: Run, rng: np.random.Generator, quality: float, encoder: str
) -> tuple[Examples, Probs]:
    train = run.read_train()
    fold_of = _choose_folds(run, train.ids)
    write_kept(run.folds_file, spell_folds(train.ids, train.languages, fold_of.tolist()))
    probs = _make_probs(run.task, train, rng, quality, train.labels)
    large = encoder == "embedded"
    for model in range(run.n_models):
        seed, fold = divmod(model, run.n_folds)
        if seed and not fold:  # a further seed, on folds of its own where the recipe says so
            keep_files(run.seed_dir(seed))
            if run.find_folds(seed) != run.folds_file:
                fold_of = (fold_of + np.arange(len(fold_of)) // 2) % run.n_folds
                dealt = spell_folds(train.ids, train.languages, fold_of.tolist())
                write_kept(run.find_folds(seed), dealt)
        write_probs(run.oof_file(model), probs.take(np.flatnonzero(fold_of == fold)))
        history = [_epoch(run, epoch, fold, quality) for epoch in range(1, 5)]
        write_kept(run.history_file(model), "".join(json.dumps(row) + "\n" for row in history))
        done = {
            "fold": fold,
            "best_epoch": 3,
            "n_train": int((fold_of != fold).sum()),
            "n_valid": int((fold_of == fold).sum()),
            "seconds": 61.5 + fold,
            "parameters": 22_700_000 if large else 4_400_000,
            "trainable_parameters": 22_700_000 if large else 4_400_000,
            "peak_rss_mb": 900.0 + 10 * fold,
            "device": "cpu",
            "precision": "fp32",
            "peak_lr": run.recipe.get("lr") or 1.2e-4,
            "encoder": encoder,
        }
        write_json(run.done_file(model), done)
    held_out = np.flatnonzero(fold_of >= 0)
    return train.take(held_out), run.read_oof()


def _choose_folds(run: Run, ids: Sequence[str]) -> np.ndarray:
    """Folds by turns; of a hold-out every third row, or the rows of a split."""
    if run.held_out_split:
        return np.array([0 if id_.startswith(f"{run.held_out_split}:") else -1 for id_ in ids])
    if run.recipe["holdout"]:
        return np.where(np.arange(len(ids)) % 3 == 0, 0, -1)
    return np.arange(len(ids)) % run.n_folds


def _lay_decisions(run: Run, train: Examples, oof: Probs) -> Thresholds:
    """Tune and estimate as the pipeline does, with fewer resamples."""
    from semeval_kit.data.texts import normalize_text
    from semeval_kit.decision.estimate import estimate_score
    from semeval_kit.decision.oof import OofAnswers, OofRows, write_oof_answers
    from semeval_kit.decision.rule import Thresholds
    from semeval_kit.decision.thresholds import Tuning
    from semeval_kit.decision.tuning import tune_rule
    from semeval_kit.task.codec import encode_labels

    if run.task.kind == "regression":  # nothing is tuned, so the stage itself is quick
        from semeval_kit.run.judge import tune

        tune(run, lambda _: None)
        return Thresholds.from_json(read_json(run.thresholds_file))
    fold_of = run.read_folds()
    rows = OofRows.of(
        oof.values,
        encode_labels(run.task, train.labels),
        oof.languages,
        oof.target_names,
        groups=[normalize_text(text) for text in train.texts],
        folds=[fold_of[key] for key in oof.keys],
    )
    tuning = Tuning(run.task.kind, int(run.recipe["seed"]))
    thresholds = tune_rule(rows, tuning)
    estimate = estimate_score(rows, tuning, n_partitions=2, n_resamples=300)
    answers = OofAnswers(oof.ids, oof.languages, run.task.all_labels, estimate.half, estimate.tuned)
    sha256 = write_oof_answers(run.oof_answers_file, answers)
    write_json(run.thresholds_file, thresholds.to_json())
    write_json(run.estimate_file, {**estimate.to_json(), "answers_sha256": sha256})
    return thresholds


def _epoch(run: Run, epoch: int, fold: int, quality: float) -> dict[str, object]:
    """Training loss falls; validation loss turns up after the third epoch, the best."""
    f1 = 0.5 + 0.1 * quality + 0.05 * min(epoch, 3) - 0.02 * max(0, epoch - 3) + 0.01 * fold
    return {
        "epoch": epoch,
        "train_loss": 0.7 / epoch,
        "val_loss": 0.6 - 0.08 * min(epoch, 3) + 0.05 * max(0, epoch - 3) + 0.01 * fold,
        "lr": 2e-4 * (1 - epoch / 4),
        "seconds": 15.0,
        "rows_per_second": 6.7,
        "peak_rss_mb": 900.0 + 10 * fold,
        "macro_f1": f1,
        "micro_f1": f1 + 0.01,
        "weighted_f1": f1 + 0.005,
        "subset_accuracy": f1 - 0.1,
    }


def _lay_split(
    run: Run, rng: np.random.Generator, quality: float, split: str, thresholds: Thresholds
) -> None:
    from semeval_kit.data.examples import read_examples
    from semeval_kit.decision.targets import decide_labels
    from semeval_kit.submission.pack import write_predictions

    data = Path(run.settings["data"])
    for language in run.languages:
        examples = read_examples(run.task, data, split, [language])
        gold = examples.labels if split == "dev" else _read_gold(run.task, data, language)
        probs = _make_probs(run.task, examples, rng, quality, gold)
        write_probs(run.probs_file(split, language), probs)
        rules = {run.task.targets[0].name: thresholds}
        preds = decide_labels(run.task, rules, probs.values, probs.languages)
        if run.task.kind != "regression":
            write_predictions(run.task, language, examples, preds, run.pred_file(split, language))


def _lay_submission(run: Run, gold: Path | None) -> None:
    from semeval_kit.submission.pack import pack_submission
    from semeval_kit.submission.score import score_submission

    pack_submission(run.task, {g: run.pred_file("test", g) for g in run.languages}, run.zip_file)
    if gold is not None:
        score = score_submission(run.task, run.zip_file, gold)
        write_json(run.score_file, {"gold": str(gold), **score.to_json()})


def _read_gold(task: Task, data: Path, language: str) -> np.ndarray:
    """Labels of the test split `(n, L)` in the order of task.all_labels."""
    folder = data / "gold" if (data / "gold").is_dir() else data / "kept-back"
    with (folder / f"{language}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if task.kind == "singlelabel":
        return np.array(
            [[row["emotion"] == label for label in task.all_labels] for row in rows], float
        )
    return np.array([[float(row.get(label, "nan")) for label in task.all_labels] for row in rows])


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
