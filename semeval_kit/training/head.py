"""The head: an encoder with its outputs, in one forward pass, and the loss that it learns by."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from semeval_kit.training.batches import NO_BLOCKS
from semeval_kit.training.features import N_AGREEING
from semeval_kit.training.targets import PLAIN, LossOptions, Targets

Array = NDArray[np.float64]
Reads = Literal["mean", "layers", "apart", "own"]
HEAD_FILE, HEAD_WEIGHTS = "head.json", "head.safetensors"
# Of the logit over how two texts agree: 0 to 1 become shares of 0.1 to 0.9.
_SLOPE = 4.0


class Classifier(nn.Module):
    """An encoder with a head: the one forward pass of training, test, prediction, explanation.

    What the head reads:

    - "mean": the mean of the tokens' last hidden states. The head is a linear layer.
    - "layers": that mean, and beside it the one in the middle layer.
    - "apart": how the texts of a pair agree in the last layer and in the middle one (`agree`):
      numbers from that alone, other kinds also from both means, product and distance.
    - "own": what transformers' own classifier of the family reads: the first token, or its mean.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        targets: Targets,
        *,
        reads: Reads,
        dropout: float = 0.0,
        samples: int = 1,
    ) -> None:
        """Wrap a network: a classifier for "own", else a plain encoder that gets a linear layer.

        With several samples a training pass gives that many blocks of logits, one after the other,
        each with a dropout of its own (multi-sample dropout, Inoue 2019, arXiv 1905.09788).
        """
        super().__init__()
        self.network, self.targets = network, targets
        takes_types = "token_type_ids" in inspect.signature(network.forward).parameters
        self.takes_types = takes_types and getattr(network.config, "type_vocab_size", 0) > 1
        self.head: nn.Linear | None = None
        self.samples, self.reads = samples, reads
        if reads != "own":
            if getattr(network, "pooler", None) is not None:
                network.pooler = None
            self.dropout = nn.Dropout(dropout)
            width = network.config.hidden_size
            n_features = {"mean": width, "layers": 2 * width, "apart": N_AGREEING + 4 * width}
            self.head = nn.Linear(n_features[reads], len(targets.columns))
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)
            if reads == "apart":
                _read_numbers_from_agreement(self.head, targets)

    @property
    def backbone(self) -> PreTrainedModel:
        """The encoder without a head."""
        if self.head is not None:
            return self.network
        backbone: PreTrainedModel = getattr(self.network, self.network.base_model_prefix)
        return backbone

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return logits `(n_texts, n_columns)` of tokens `(n_texts, n_tokens)`.

        Of pairs apart, the tokens are `(n_pairs, 2, n_tokens)` and the logits one row per pair.

        Args:
            input_ids: the tokens.
            attention_mask: 1 for a token and 0 for padding.
            token_type_ids: 1 for the tokens of a second text, for encoders that are told.
        """
        apart = self.reads == "apart"
        if apart:
            input_ids, attention_mask = input_ids.flatten(0, 1), attention_mask.flatten(0, 1)
            token_type_ids = None if token_type_ids is None else token_type_ids.flatten(0, 1)
        types = {"token_type_ids": token_type_ids} if self.takes_types else {}
        output = self.network(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=self.reads in ("layers", "apart") or None,
            **types,
        )
        if self.head is None:
            logits: Tensor = output.logits
            return logits
        weights = attention_mask.unsqueeze(-1).float()
        if apart:
            features = _compare(last_and_middle(output), weights)
        elif self.reads == "layers":
            means = [mean_tokens(states, weights) for states in last_and_middle(output)]
            features = torch.cat(means, dim=1)
        else:  # in fp32: a sum of many tokens needs the digits
            features = mean_tokens(output.last_hidden_state.float(), weights)
        if self.training:
            features = features.repeat(self.samples, 1)
        dropped = self.dropout(features)
        if apart:  # how both agree are few numbers and say the most: never dropped
            dropped = torch.cat([features[:, :N_AGREEING], dropped[:, N_AGREEING:]], dim=1)
        logits = self.head(dropped)
        return logits

    def save(self, folder: Path) -> None:
        """Write the network by `save_pretrained`, and the head beside it."""
        self.network.save_pretrained(folder)
        if self.head is not None:
            save_file(
                {k: v.contiguous() for k, v in self.head.state_dict().items()},
                folder / HEAD_WEIGHTS,
            )
        pooling = "mean" if self.reads == "apart" else self.reads
        parts = [asdict(part) for part in self.targets.parts]
        content: dict[str, Any] = {"format": 1, "pooling": pooling, "targets": parts}
        if self.reads == "apart":
            content["pairs"] = "apart"
        (folder / HEAD_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def last_and_middle(output: BaseModelOutput) -> tuple[Tensor, Tensor]:
    """Of the states of all layers those that say most untrained, each in fp32.

    Whatever the encoder computes in: a sum of many tokens needs the digits.
    """
    layers = output.hidden_states
    assert output.last_hidden_state is not None
    assert layers is not None
    return output.last_hidden_state.float(), layers[len(layers) // 2].float()


def mean_tokens(states: Tensor, weights: Tensor) -> Tensor:
    """The mean of each text's tokens `(n_texts, width)`.

    Args:
        states: `(n_texts, n_tokens, width)`.
        weights: `(n_texts, n_tokens, 1)`, 1 for a token and 0 for padding.
    """
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def agree(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> Tensor:
    """How the texts of pairs agree in a layer `(n_pairs, 2)`.

    The cosine of their means; and how well their tokens can be aligned: the cosine of each with the
    one of the other text that is most like it, the mean over both texts (as BERTScore, Zhang et al.
    2020, arXiv 1904.09675).

    Args:
        one: states and weights of the first texts, as `mean_tokens` takes them.
        two: those of the second ones.
    """
    cosine = nn.functional.cosine_similarity(mean_tokens(*one), mean_tokens(*two), dim=-1)
    first, second = (nn.functional.normalize(states, dim=-1) for states, _ in (one, two))
    likeness = first @ second.transpose(1, 2)
    are_tokens = one[1] @ two[1].transpose(1, 2)
    likeness = likeness.masked_fill(are_tokens == 0, -1.0)
    aligned = [
        mean_tokens(likeness.amax(dim=side).unsqueeze(-1), weights)
        for side, weights in ((2, one[1]), (1, two[1]))
    ]
    return torch.cat([cosine.unsqueeze(-1), torch.stack(aligned).mean(dim=0)], dim=-1)


def _compare(layers: tuple[Tensor, Tensor], weights: Tensor) -> Tensor:
    """What a head reads of pairs apart `(n_pairs, n_features)`.

    How both agree in each layer; and of the last layer's means, each of length sqrt(width): both,
    product and distance.

    Args:
        layers: each `(2 * n_pairs, n_tokens, width)`, both texts of a pair one after the other.
        weights: `(2 * n_pairs, n_tokens, 1)`.
    """
    sides = [[(states[side::2], weights[side::2]) for states in layers] for side in (0, 1)]
    width = layers[0].shape[-1]
    one, two = (
        nn.functional.normalize(mean_tokens(*side[0]), dim=-1) * width**0.5 for side in sides
    )
    agreement = [agree(*layer) for layer in zip(*sides, strict=True)]
    return torch.cat([*agreement, one, two, one * two, (one - two).abs()], dim=-1)


def _read_numbers_from_agreement(head: nn.Linear, targets: Targets) -> None:
    """Let the columns of a number be a line over how both texts agree, from first step to last.

    So a model says from the start what the encoder knows of relatedness untrained. The other
    features, of which there are a thousand, would be fitted to the training rows instead.
    """
    learns = torch.ones_like(head.weight)
    with torch.no_grad():
        for part, columns in targets.pairs:
            if part.kind == "regression":
                head.weight[columns], learns[columns] = 0.0, 0.0
                # The last layer's two, which say the most.
                head.weight[columns, :2] = 0.5 if part.is_free else _SLOPE / 2
                head.bias[columns] = 0.0 if part.is_free else -_SLOPE / 2
                learns[columns, :N_AGREEING] = 1.0
    hook = head.weight.register_hook  # untyped in torch
    hook(lambda slope: slope * learns.to(slope))  # type: ignore[no-untyped-call]


class TargetLoss:
    """The training loss: of each target the mean over its annotated cells, weighted and added up.

    Cells that are NaN count nothing. Positives may weigh more, by the training rows of the fold, or
    by those of a row's language; and some rows may weigh more than others.
    """

    def __init__(
        self,
        targets: Targets,
        gold: Array,
        positive_weight: str,
        options: LossOptions = PLAIN,
        blocks: NDArray[np.int64] = NO_BLOCKS,
    ) -> None:
        """Derive the weights of positives from the training rows.

        Args:
            targets: what the head gives.
            gold: `(n_examples, n_targets)`.
            positive_weight: none, sqrt or balanced.
            options: of the loss.
            blocks: `(n_examples,)`, the number of each row's language, where each language has
                weights of its own; empty: all rows together.
        """
        self.targets, self.options = targets, options
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[positive_weight]
        numbers = blocks if len(blocks) else np.zeros(len(gold), dtype=np.int64)
        tables = []
        for block in range(int(numbers.max(initial=0)) + 1):
            rows = gold[numbers == block]
            positives = np.nansum(rows, axis=0)
            negatives = np.sum(~np.isnan(rows), axis=0) - positives
            ratio = np.divide(
                negatives, positives, out=np.ones_like(positives), where=positives > 0
            )
            for part, columns in targets.pairs:
                if part.is_number:
                    ratio[columns] = 1.0
            tables.append(np.maximum(ratio, 1e-6) ** power)
        self.positive = torch.tensor(np.stack(tables), dtype=torch.float32)
        """`(n_languages, n_targets)`."""
        self.weights = torch.tensor([part.weight for part in targets.parts])

    def to(self, device: torch.device) -> TargetLoss:
        """The same with its weights on the device, so that no step waits for them."""
        self.positive, self.weights = self.positive.to(device), self.weights.to(device)
        return self

    def count_terms(self, gold: Tensor) -> Tensor:
        """Terms that a batch adds, `(n_parts,)`."""
        return torch.stack(
            [part.count_terms(gold[:, columns]) for part, columns in self.targets.pairs]
        )

    def sum_terms(self, logits: Tensor, gold: Tensor, blocks: Tensor | None = None) -> Tensor:
        """Sums of the terms of a batch `(n_parts,)`.

        Args:
            logits: `(n_texts, n_targets)`; or several of each row, one block of rows after the
                other: their mean is taken.
            gold: `(n_texts, n_targets)`.
            blocks: `(n_texts,)`, the number of each row's language.
        """
        copies = len(logits) // max(len(gold), 1)
        positive = self.positive.to(logits.device)
        positive = positive[0] if blocks is None else positive[blocks].repeat(copies, 1)
        gold = gold.repeat(copies, 1)
        return torch.stack(
            [
                part.sum_loss(logits[:, s], gold[:, s], positive[..., s], self.options) / copies
                for part, s in self.targets.pairs
            ]
        )

    def sum_divergence(self, logits: Tensor, gold: Tensor) -> Tensor:
        """How far two passes differ, summed over the terms of a batch `(n_parts,)`.

        Args:
            logits: `(2 * n_texts * n_samples, n_columns)`: all texts, all again, and so on.
            gold: `(n_texts, n_columns)`.
        """
        both = logits.view(-1, 2, len(gold), logits.shape[1])
        samples = len(both)
        one, two = (both[:, side].flatten(0, 1) for side in (0, 1))
        gold = gold.repeat(samples, 1)
        return torch.stack(
            [
                part.sum_divergence(one[:, s], two[:, s], gold[:, s]) / samples
                for part, s in self.targets.pairs
            ]
        )

    def total(self, sums: Tensor, terms: Tensor) -> Tensor:
        """The loss `()` of sums over so many terms, both `(n_parts,)`."""
        means = sums / terms.clamp(min=1).to(sums.device)
        return (means * self.weights.to(sums.device)).sum()
