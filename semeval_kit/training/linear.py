"""Linear members: n-grams and regression, without any encoder."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.feature_extraction.text import TfidfVectorizer

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError
from semeval_kit.files import keep_files, read_kept, sha256_file, write_kept
from semeval_kit.plurals import count_noun
from semeval_kit.run.directory import Probs, Run, write_json, write_probs
from semeval_kit.task.codec import encode_labels, target_names
from semeval_kit.training.frozen import PAIR, FrozenReader, Scaled
from semeval_kit.training.machine import peak_memory_mb
from semeval_kit.training.regression import Head, fit_heads, mean_heads

# Measured out of fold on nine languages of Track A: 1-5 beat 2-5 and 2-4, with words beat without,
# and terms that occur in one text only are a third of the terms and change nothing.
_BLOCKS: dict[str, dict[str, Any]] = {
    "word": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"},
    "char": {"analyzer": "char_wb", "ngram_range": (1, 5)},
}
_MIN_ROWS = 2
_WORD = re.compile(r"\w+")
_AGREEMENT = "agreement"
_NO_SPREAD = 1e-9
Tensors = dict[str, NDArray[Any]]
Event = dict[str, Any]
Array = NDArray[np.float64]
_AGAIN = "Remove the fold's folder and run `semeval-kit train` again."
JOINT = ""  # the language of a model that learnt from all rows


class Ngrams:
    """TF-IDF features: two blocks of unit length, words and characters, side by side.

    Of a pair, what each text holds, and before it how the two agree: see `_agree`.
    """

    def __init__(self, blocks: Mapping[str, TfidfVectorizer], scaling: Array | None = None) -> None:
        """Hold fitted vectorizers by the name of their block.

        Args:
            blocks: words, characters.
            scaling: of pairs the means and deviations of how they agree `(2, n_agreeing)`.
        """
        self._blocks, self._scaling = dict(blocks), scaling

    @property
    def n_agreeing(self) -> int:
        """How many of the features, the first ones, say how the texts of a pair agree."""
        return 0 if self._scaling is None else self._scaling.shape[1]

    @classmethod
    def fit(cls, texts: Sequence[str]) -> tuple[Ngrams, Any]:
        """Learn terms and their weights from texts; a pair is two texts with `PAIR` between them.

        Returns:
            The features, and the sparse matrix `(n_texts, n_features)` of the same texts.
        """
        sides = _fold_sides(texts)
        every_text = [text for side in sides for text in side]
        blocks, columns = {}, []
        for name in _BLOCKS:
            for min_rows in (_MIN_ROWS, 1):  # of very few texts every term counts
                block = _make_block(name, min_df=min_rows)
                try:
                    columns.append(block.fit_transform(every_text))
                except ValueError:  # no term is left
                    continue
                blocks[name] = block
                break
        n_texts = len(texts)
        if len(sides) == 1:
            return cls(blocks), _join(columns, n_texts)
        parts = [[block[:n_texts] for block in columns], [block[n_texts:] for block in columns]]
        agreement = _agree(sides, parts)
        spread = agreement.std(axis=0)
        spread = np.where(spread > _NO_SPREAD, spread, 1.0)
        features = cls(blocks, np.stack([agreement.mean(axis=0), spread]))
        return features, features._join_sides(parts, agreement)

    def transform(self, texts: Sequence[str]) -> Any:
        """The sparse matrix `(n_texts, n_features)` of any texts; unseen terms count nothing."""
        sides = _fold_sides(texts, 1 if self._scaling is None else 2)
        parts = [[block.transform(side) for block in self._blocks.values()] for side in sides]
        if self._scaling is None:
            return _join(parts[0], len(texts))
        return self._join_sides(parts, _agree(sides, parts))

    def _join_sides(self, parts: Sequence[Sequence[Any]], agreement: Array) -> Any:
        from scipy import sparse

        assert self._scaling is not None
        mean, spread = self._scaling
        scaled = sparse.csr_matrix((agreement - mean) / spread)
        return _join([scaled, *(block for side in parts for block in side)], len(agreement))

    def pack(self) -> tuple[dict[str, list[str]], Tensors]:
        """The terms of each block in the order of their columns, and the weights of the terms."""
        terms = {n: block.get_feature_names_out().tolist() for n, block in self._blocks.items()}
        weights = {n: block.idf_.astype(np.float64) for n, block in self._blocks.items()}
        return terms, weights | ({} if self._scaling is None else {_AGREEMENT: self._scaling})

    @classmethod
    def unpack(cls, terms: Mapping[str, Sequence[str]], weights: Mapping[str, Any]) -> Ngrams:
        """The features that `pack` described."""
        blocks = {}
        for name, vocabulary in terms.items():
            blocks[name] = _make_block(name, vocabulary=list(vocabulary))
            blocks[name].idf_ = np.asarray(weights[name], dtype=np.float64)
        return cls(blocks, weights.get(_AGREEMENT))


Features = Ngrams | Scaled


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
        return sum(head.coef.size for _, heads in self._parts.values() for head in heads)

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
            words["languages"][language] = {
                "features": described,
                "heads": [head.describe() for head in heads],
            }
        keep_files(folder)
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


def _make_block(name: str, **given: Any) -> TfidfVectorizer:
    return TfidfVectorizer(
        lowercase=False, sublinear_tf=True, dtype=np.float64, **_BLOCKS[name], **given
    )


def _join(parts: Sequence[Any], n_rows: int) -> Any:
    from scipy import sparse

    return sparse.hstack(parts).tocsr() if parts else sparse.csr_matrix((n_rows, 0))


def _fold_sides(texts: Sequence[str], n_sides: int = 0) -> list[list[str]]:
    """The texts without case; of pairs the first texts and the second ones.

    Args:
        texts: with `PAIR` between the texts of a pair.
        n_sides: 1 or 2; 0: as many as the texts have.
    """
    folded = [unicodedata.normalize("NFKC", text).lower() for text in texts]
    n_sides = n_sides or (2 if any(PAIR in text for text in folded) else 1)
    if n_sides == 1:
        return [folded]
    halves = [text.partition(PAIR) for text in folded]
    return [[first for first, _, _ in halves], [second for _, _, second in halves]]


def _agree(sides: Sequence[Sequence[str]], parts: Sequence[Sequence[Any]]) -> Array:
    """How the texts of pairs agree `(n_pairs, n_agreeing)`.

    The cosine of each block's TF-IDF; of their sets of words the Jaccard index and the share of the
    smaller set that the other holds; and of their lengths in characters the distance of the
    logarithms and the smaller one.
    """
    columns = [
        np.asarray(one.multiply(two).sum(axis=1)).ravel() for one, two in zip(*parts, strict=True)
    ]
    words = [[set(_WORD.findall(text)) for text in side] for side in sides]
    sizes = np.array([[len(s) for s in side] for side in words], dtype=float).reshape(2, -1)
    shared = np.array([len(one & two) for one, two in zip(*words, strict=True)], dtype=float)
    lengths = np.log1p([[len(text) for text in side] for side in sides]).reshape(2, -1)
    columns += [
        shared / np.maximum(sizes.sum(axis=0) - shared, 1),
        shared / np.maximum(sizes.min(axis=0), 1),
        np.abs(lengths[0] - lengths[1]),
        lengths.min(axis=0),
    ]
    return np.stack(columns, axis=1)


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
