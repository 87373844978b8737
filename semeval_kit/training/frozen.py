"""Features of an encoder that no one trains: the mean of a text's tokens in two of its layers.

They are computed once per text and kept in the run by the text's sha256, so that every fold, and
every split, finds them there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from semeval_kit.files import hold_lock, keep_files, read_kept, write_kept
from semeval_kit.run.directory import Run

Floats = NDArray[np.float64]
PAIR = "\u241f"  # between a text and its pair, in what is kept
_BATCH = 64
_N_LAYERS = 2
_WAIT_SECONDS = 24 * 3600.0
_REMEDY = "Remove the folder and run the same command again: it is computed anew."


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
    _loaded: list[Any] = field(default_factory=list, repr=False)

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

    def read(self, texts: Sequence[str], tell: Callable[[int], None] | None = None) -> Floats:
        """Features `(n_texts, n_features)` of texts.

        Of pairs the cosine in each layer, then the features of both, their product and distance.
        A pair is two texts with `PAIR` between them; `tell` is told how many texts are done.
        """
        halves = [text.split(PAIR) for text in texts]
        single = {half for parts in halves for half in parts}
        features_of = self._read_single(sorted(single), tell)
        first = np.stack([features_of[parts[0]] for parts in halves])
        if all(len(parts) == 1 for parts in halves):
            return first
        second = np.stack([features_of[parts[-1]] for parts in halves])
        return np.hstack(
            [_cosines(first, second), first, second, first * second, np.abs(first - second)]
        )

    def _read_single(
        self, texts: Sequence[str], tell: Callable[[int], None] | None
    ) -> dict[str, Floats]:
        if self.folder is None:
            return dict(zip(texts, self._compute(texts, tell), strict=True))
        keep_files(self.folder)
        keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
        with hold_lock(self.folder, _WAIT_SECONDS):  # another fold may be at the same texts
            features_of = self._read_kept()
            missing = [text for text in texts if keys[text] not in features_of]
            if missing:
                values = self._compute(missing, tell)
                names = np.array([list(bytes.fromhex(keys[t])) for t in missing], dtype=np.uint8)
                content = save({"keys": names, "values": values.astype(np.float32)})
                digest = hashlib.sha256(content).hexdigest()[:16]
                write_kept(self.folder / f"{digest}.safetensors", content)
                features_of = self._read_kept()
        return {text: features_of[keys[text]].astype(np.float64) for text in texts}

    def _read_kept(self) -> dict[str, NDArray[np.float32]]:
        assert self.folder is not None
        vector_of = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            tensors = load(read_kept(path, _REMEDY))
            for name, values in zip(tensors["keys"], tensors["values"], strict=True):
                vector_of[name.tobytes().hex()] = values
        return vector_of

    def _compute(self, texts: Sequence[str], tell: Callable[[int], None] | None) -> Floats:
        import torch

        from semeval_kit.training.batches import encode_texts, pad_batch, plain_batches

        tokenizer, model = self._load()
        tokens = encode_texts(tokenizer, texts, self.max_length)
        vectors: list[Any] = [None] * len(texts)
        done = 0
        for rows in plain_batches(tokens.lengths, _BATCH):
            batch = pad_batch(tokens.take(rows), int(tokenizer.pad_token_id or 0))
            batch = {name: value.to(model.device) for name, value in batch.items()}
            with torch.no_grad():
                layers = model(**batch, output_hidden_states=True).hidden_states
            mask = batch["attention_mask"].unsqueeze(-1).to(layers[-1].dtype)
            means = [
                (layer * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
                for layer in (layers[-1], layers[len(layers) // 2])
            ]
            values = torch.cat(means, dim=1).float().cpu().numpy()
            for row, vector in zip(rows, values, strict=True):
                vectors[row] = vector
            done += len(rows)
            if tell is not None:
                tell(done)
        return np.asarray(np.stack(vectors), dtype=np.float64)

    def _load(self) -> tuple[Any, Any]:
        if not self._loaded:
            import torch

            from semeval_kit.training.encoder import load_bare, load_tokenizer

            tokenizer = load_tokenizer(self)
            model = load_bare(self)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._loaded.extend((tokenizer, model.to(device).eval()))
        tokenizer, model = self._loaded
        return tokenizer, model


class Scaled:
    """Features of a reader, each with mean 0 and deviation 1 over the texts that were learnt."""

    def __init__(
        self, reader: FrozenReader, mean: Floats, scale: Floats, n_agreeing: int = 0
    ) -> None:
        """Hold a reader and, per feature, what is taken off and what is divided by.

        Of pairs the first `n_agreeing` features say how the two texts agree.
        """
        self.reader, self.mean, self.scale, self.n_agreeing = reader, mean, scale, n_agreeing

    @classmethod
    def fit(cls, reader: FrozenReader, texts: Sequence[str]) -> tuple[Scaled, Floats]:
        """Learn means and deviations.

        Returns:
            The features, and the matrix `(n_texts, n_features)` of the same texts.
        """
        values = reader.read(texts)
        spread = values.std(axis=0)
        n_agreeing = _N_LAYERS if any(PAIR in text for text in texts) else 0
        scale = np.where(spread > 1e-9, spread, 1.0)
        scaled = cls(reader, values.mean(axis=0), scale, n_agreeing)
        return scaled, (values - scaled.mean) / scaled.scale

    def transform(self, texts: Sequence[str]) -> Floats:
        """The matrix `(n_texts, n_features)` of any texts."""
        if not len(texts):
            return np.empty((0, len(self.mean)))
        return (self.reader.read(texts) - self.mean) / self.scale

    def pack(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `unpack` needs: JSON-able words, and tensors."""
        return {}, {"mean": self.mean, "scale": self.scale}


def _cosines(first: Floats, second: Floats) -> Floats:
    """The cosine of two texts' means in each layer `(n_pairs, n_layers)`."""
    one, two = (side.reshape(len(side), _N_LAYERS, -1) for side in (first, second))
    lengths = np.linalg.norm(one, axis=2) * np.linalg.norm(two, axis=2)
    return np.asarray((one * two).sum(axis=2) / np.maximum(lengths, 1e-12))
