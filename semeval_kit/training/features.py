"""Features of texts: n-grams, and those of an encoder that no one trains.

Of n-grams what each text holds; of an encoder the mean of a text's tokens in two of its layers. The
latter are computed once per text, or pair, and kept in the run by its sha256, so that every fold,
and every split, finds them there. A pair is two texts with `PAIR` between them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.feature_extraction.text import TfidfVectorizer

from semeval_kit.files import hold_lock, keep_files, read_kept, write_kept
from semeval_kit.run.directory import Run

Array = NDArray[np.float64]
PAIR = "\u241f"  # between a text and its pair, in what is kept
_BATCH = 64
N_AGREEING = 4  # numbers, see `training.head.agree`: two in the last layer, two in the middle one
_WAIT_SECONDS = 24 * 3600.0
_REMEDY = "Remove the folder and run the same command again: it is computed anew."

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


@dataclass(frozen=True)
class FrozenReader:
    """Turns texts into features by an encoder that stays as it is.

    Attributes:
        encoder: its name, as a recipe gives it.
        revision: of a hub encoder.
        max_length: tokens per text.
        folder: where features are kept; None: nowhere.
    """

    encoder: str
    revision: str
    max_length: int
    folder: Path | None

    @classmethod
    def of(cls, run: Run) -> FrozenReader:
        """The reader of a frozen run."""
        recipe = run.recipe
        return cls(
            str(recipe["encoder"]),
            str(recipe.get("revision", "")),
            int(recipe["max_length"]),
            run.path / "features",
        )

    def read(self, texts: Sequence[str], tell: Callable[[int], None] | None = None) -> Array:
        """Features `(n_texts, n_features)` of texts.

        Of pairs how the two agree, see `training.head.agree`, then the features of both, their
        product and distance. A pair is two texts with `PAIR` between them; `tell` is told how many
        texts or pairs are done.
        """
        vector_of = self._read_each(sorted(set(texts)), tell)
        vectors = np.stack([vector_of[text] for text in texts])
        if not any(PAIR in text for text in texts):
            return vectors
        agreement, sides = np.split(vectors, [N_AGREEING], axis=1)
        first, second = np.split(sides, 2, axis=1)
        return np.hstack([agreement, first, second, first * second, np.abs(first - second)])

    def _read_each(
        self, texts: Sequence[str], tell: Callable[[int], None] | None
    ) -> dict[str, Array]:
        if self.folder is None:
            return dict(zip(texts, self._compute(texts, tell), strict=True))
        keep_files(self.folder)
        keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
        with hold_lock(self.folder, _WAIT_SECONDS):  # another fold may be at the same texts
            vector_of = self._read_kept()
            missing = [text for text in texts if keys[text] not in vector_of]
            if missing:
                values = self._compute(missing, tell)
                names = np.array([list(bytes.fromhex(keys[t])) for t in missing], dtype=np.uint8)
                content = save({"keys": names, "values": values.astype(np.float32)})
                digest = hashlib.sha256(content).hexdigest()[:16]
                write_kept(self.folder / f"{digest}.safetensors", content)
                vector_of = self._read_kept()
        return {text: vector_of[keys[text]].astype(np.float64) for text in texts}

    def _read_kept(self) -> dict[str, NDArray[np.float32]]:
        assert self.folder is not None
        vector_of = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            tensors = load(read_kept(path, _REMEDY))
            for name, values in zip(tensors["keys"], tensors["values"], strict=True):
                vector_of[name.tobytes().hex()] = values
        return vector_of

    def _compute(self, texts: Sequence[str], tell: Callable[[int], None] | None) -> Array:
        """The means of each text's tokens in two layers; of pairs, before them, how both agree."""
        import torch

        from semeval_kit.training.batches import in_halves, pad_batch, place, plain_batches
        from semeval_kit.training.head import agree, last_and_middle, mean_tokens
        from semeval_kit.training.tokens import encode_texts

        tokenizer, model = self.loaded
        are_pairs = any(PAIR in text for text in texts)
        sides = _split_sides(texts, 2 if are_pairs else 1)
        tokens = [encode_texts(tokenizer, side, self.max_length) for side in sides]
        lengths = np.sum([side.lengths for side in tokens], axis=0).tolist()
        vectors: list[Any] = [None] * len(texts)
        done = 0

        def describe(rows: list[int]) -> torch.Tensor:
            read = []  # of each side its layers
            for side in tokens:
                batch = pad_batch(side.take(rows), int(tokenizer.pad_token_id or 0))
                batch = place(batch, model.device)
                layers = last_and_middle(model(**batch, output_hidden_states=True))
                weights = batch["attention_mask"].unsqueeze(-1).float()
                read.append([(layer, weights) for layer in layers])
            means = [mean_tokens(*layer) for side in read for layer in side]
            agreement = [agree(*layer) for layer in zip(*read, strict=True)] if are_pairs else []
            return torch.cat([*agreement, *means], dim=1)

        for rows in plain_batches(lengths, _BATCH // len(sides)):
            with torch.no_grad():
                values = in_halves(rows, describe).cpu().numpy()
            for row, vector in zip(rows, values, strict=True):
                vectors[row] = vector
            done += len(rows)
            if tell is not None:
                tell(done)
        return np.asarray(np.stack(vectors), dtype=np.float64)

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """The encoder's tokenizer and network, on the fastest device there is."""
        import torch

        from semeval_kit.training.encoder import load_bare, load_tokenizer

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return load_tokenizer(self), load_bare(self).to(device).eval()  # type: ignore[arg-type]


class Scaled:
    """Features of a reader, each with mean 0 and deviation 1 over the texts that were learnt.

    Of pairs how the two agree has a deviation that makes it count as much as all the rest.
    """

    def __init__(
        self, reader: FrozenReader, mean: Array, scale: Array, n_agreeing: int = 0
    ) -> None:
        """Hold a reader and, per feature, what is taken off and what is divided by.

        Of pairs the first `n_agreeing` features say how the two texts agree.
        """
        self.reader, self.mean, self.scale, self.n_agreeing = reader, mean, scale, n_agreeing

    @classmethod
    def fit(cls, reader: FrozenReader, texts: Sequence[str]) -> tuple[Scaled, Array]:
        """Learn means and deviations.

        Returns:
            The features, and the matrix `(n_texts, n_features)` of the same texts.
        """
        values = reader.read(texts)
        spread = values.std(axis=0)
        n_agreeing = N_AGREEING if any(PAIR in text for text in texts) else 0
        scale = np.where(spread > _NO_SPREAD, spread, 1.0)
        if n_agreeing:
            scale[:n_agreeing] *= (n_agreeing / (len(scale) - n_agreeing)) ** 0.5
        scaled = cls(reader, values.mean(axis=0), scale, n_agreeing)
        return scaled, (values - scaled.mean) / scaled.scale

    def transform(self, texts: Sequence[str]) -> Array:
        """The matrix `(n_texts, n_features)` of any texts."""
        if not len(texts):
            return np.empty((0, len(self.mean)))
        return (self.reader.read(texts) - self.mean) / self.scale

    def pack(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `unpack` needs: JSON-able words, and tensors."""
        return {}, {"mean": self.mean, "scale": self.scale}


Features = Ngrams | Scaled


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
    return _split_sides(folded, n_sides or (2 if any(PAIR in text for text in folded) else 1))


def _split_sides(texts: Sequence[str], n_sides: int) -> list[list[str]]:
    if n_sides == 1:
        return [list(texts)]
    halves = [text.partition(PAIR) for text in texts]
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
