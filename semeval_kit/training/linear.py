"""Linear members: features and a regression, without any encoder that learns."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError
from semeval_kit.files import keep_files, read_kept, sha256_file, write_json, write_kept
from semeval_kit.plurals import count_noun
from semeval_kit.probs import Probs, write_probs
from semeval_kit.run.directory import Run
from semeval_kit.task.codec import encode_labels, target_names
from semeval_kit.training.features import PAIR, Features, FrozenReader, Ngrams, Scaled
from semeval_kit.training.machine import peak_memory_mb
from semeval_kit.training.regression import Head, fit_heads, mean_heads

Event = dict[str, Any]
Array = NDArray[np.float64]
_AGAIN = "Remove the fold's folder and run `semeval-kit train` again."
JOINT = ""  # the language of a model that learnt from all rows


class LinearModel:
    """The models of one fold, by language."""

    def __init__(
        self, target_names: Sequence[str], parts: dict[str, tuple[Features, list[Head]]]
    ) -> None:
        """Hold features and heads of each language."""
        self.target_names = tuple(target_names)
        self._parts = parts

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that have a model of their own."""
        return tuple(language for language in self._parts if language != JOINT)

    @property
    def n_weights(self) -> int:
        """Weights of all models."""
        return sum(head.n_weights for _, heads in self._parts.values() for head in heads)

    def probs(
        self,
        texts: Sequence[str],
        tell: Callable[[int], None] | None = None,
        languages: Sequence[str] | None = None,
    ) -> Array:
        """Return probabilities `(n_texts, n_targets)`.

        `tell` is told after each language how many texts are done; languages, one per text, are
        None where there is one model only.

        Raises:
            KitError: a text's language has no model, and there is none of all rows.
        """
        language_of = np.asarray(languages if languages is not None else [JOINT] * len(texts))
        values = np.empty((len(texts), len(self.target_names)))
        done = 0
        for language in dict.fromkeys(language_of.tolist()):
            features, heads = self._choose(language)
            rows = np.flatnonzero(language_of == language)
            texts_of_language = [texts[row] for row in rows.tolist()]
            values[rows] = mean_heads(heads, features.transform(texts_of_language))
            done += len(rows)
            if tell is not None:
                tell(done)
        return values

    def answer(self, examples: Examples, tell: Callable[[int], None] | None = None) -> Array:
        """Probabilities `(n_examples, n_targets)` of examples, see `probs`."""
        texts = join_texts(examples.texts, examples.pairs, examples.contexts)
        return self.probs(texts, tell, examples.languages)

    def _choose(self, language: str) -> tuple[Features, list[Head]]:
        model = self._parts.get(language) or self._parts.get(JOINT)
        if model is None and len(self._parts) == 1 and language == JOINT:
            model = next(iter(self._parts.values()))
        if model is None:
            named = f"'{language}' has none" if language else "none is named"
            raise KitError(
                f"this run has one model per language and {named}. "
                f"Give --language, one of {', '.join(self.languages)}."
            )
        return model

    def save(self, folder: Path) -> None:
        """Write `model.json` and `model.safetensors`."""
        words: dict[str, Any] = {"target_names": list(self.target_names), "languages": {}}
        tensors: dict[str, Any] = {}
        for language, (features, heads) in self._parts.items():
            described, weights = features.pack()
            tensors |= {f"{language}/features/{k}": v for k, v in weights.items()}
            for number, head in enumerate(heads):
                tensors[f"{language}/coef/{number}"] = head.coef
                tensors[f"{language}/intercept/{number}"] = head.intercept
                if head.anchors is not None and head.weights is not None:
                    tensors[f"{language}/anchors"] = head.anchors  # the same of every head
                    tensors[f"{language}/weights/{number}"] = head.weights
            words["languages"][language] = {
                "features": described,
                "heads": [head.describe() for head in heads],
            }
        keep_files(folder)
        # By rows: safetensors writes the memory as it lies, and would read columns as rows.
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        write_kept(folder / "model.safetensors", save(tensors))
        write_kept(folder / "model.json", json.dumps(words, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path, reader: FrozenReader | None = None) -> LinearModel:
        """Read what `save` wrote.

        Raises:
            KitError: a file is missing or damaged.
        """
        try:
            words = json.loads(read_kept(folder / "model.json", _AGAIN))
            tensors = load(read_kept(folder / "model.safetensors", _AGAIN))
            parts = {}
            for language, described_part in words["languages"].items():
                prefix = f"{language}/features/"
                weights = {
                    name.removeprefix(prefix): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(prefix)
                }
                features: Features
                if reader is not None:
                    features = Scaled(reader, weights["mean"], weights["scale"])
                else:
                    features = Ngrams.unpack(described_part["features"], weights)
                heads = [
                    Head(
                        tensors[f"{language}/coef/{number}"],
                        tensors[f"{language}/intercept/{number}"],
                        **described,
                        anchors=tensors.get(f"{language}/anchors"),
                        weights=tensors.get(f"{language}/weights/{number}"),
                    )
                    for number, described in enumerate(described_part["heads"])
                ]
                parts[language] = (features, heads)
            return cls(words["target_names"], parts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KitError(f"{folder}: damaged ({error}). {_AGAIN}") from error


def train_fold(run: Run, fold: int, emit: Callable[[Event], None]) -> None:
    """Fit the models of a fold and write what it leaves: model, oof.csv, done.json."""
    started = time.monotonic()
    examples = run.read_train()
    targets = encode_labels(run.task, examples.labels)
    fold_of = run.read_folds()
    folds = np.array([fold_of[key] for key in examples.keys])
    learnt, held_out = np.flatnonzero(folds != fold), examples.take(np.flatnonzero(folds == fold))
    model = _fit(run, examples.take(learnt), targets[learnt], emit)
    model.save(run.model_dir(fold))
    values = model.answer(held_out)
    write_probs(
        run.oof_file(fold), Probs(held_out.ids, held_out.languages, model.target_names, values)
    )
    seconds = round(time.monotonic() - started, 1)
    n_rows = count_noun(len(learnt), "row")
    emit({"event": "note", "text": f"learnt from {n_rows} in {seconds:.0f} s"})
    write_json(
        run.done_file(fold),
        {
            "fold": fold,
            "n_train": len(learnt),
            "n_valid": len(held_out),
            "seconds": seconds,
            "parameters": model.n_weights,
            "trainable_parameters": model.n_weights,
            "peak_rss_mb": peak_memory_mb(),
            "encoder": run.recipe["encoder"],
            "oof_sha256": sha256_file(run.oof_file(fold)),
            "device": "cpu",
            "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
            "scikit-learn": metadata.version("scikit-learn"),
            "recipe_sha256": sha256_file(run.recipe_file),
            "folds_sha256": sha256_file(run.folds_file),
        },
    )
    emit({"event": "done", "fold": fold})


def load_fold(run: Run, fold: int) -> LinearModel:
    """Load the models of a finished fold.

    Raises:
        KitError: the fold is not finished, or a file of its model is missing or damaged.
    """
    run.read_done(fold)
    return LinearModel.load(run.model_dir(fold), _find_reader(run))


def join_texts(
    texts: Sequence[str], pairs: Sequence[str] = (), contexts: Sequence[str] = ()
) -> list[str]:
    """What is read of each row: its context, its text, and after a mark its pair."""
    joined = list(texts)
    if contexts:
        joined = [f"{c} {text}" for c, text in zip(contexts, joined, strict=True)]
    if pairs:
        joined = [f"{text}{PAIR}{pair}" for text, pair in zip(joined, pairs, strict=True)]
    return joined


def _fit(
    run: Run, examples: Examples, targets: Array, emit: Callable[[Event], None]
) -> LinearModel:
    languages = np.asarray(examples.languages)
    rows_of = {g: np.flatnonzero(languages == g) for g in dict.fromkeys(examples.languages)}
    if not set(run.languages) <= set(rows_of):
        rows_of[JOINT] = np.arange(len(examples))
    reader = _find_reader(run)
    parts, done = {}, 0
    for language, rows in rows_of.items():
        learnt = examples.take(rows)
        texts = join_texts(learnt.texts, learnt.pairs, learnt.contexts)
        features: Features
        if reader is not None:
            features, matrix = Scaled.fit(reader, texts)
        else:
            features, matrix = Ngrams.fit(texts)
        heads = fit_heads(
            matrix,
            targets[rows],
            [(target.kind, run.task.target_slices[target.name]) for target in run.task.targets],
            number_groups(learnt).tolist(),
            int(run.settings["seed"]),
            features.n_agreeing,
        )
        parts[language] = (features, heads)
        done += len(rows)
        emit({"event": "rows", "split": "training", "done": done, "rows": len(examples)})
    return LinearModel(target_names(run.task), parts)


def _find_reader(run: Run) -> FrozenReader | None:
    return FrozenReader.of(run) if run.member == "frozen" else None
