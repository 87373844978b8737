"""Encoders with a classification head: found, checked, loaded, frozen in part, saved plainly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    logging,
)

from semeval_kit.errors import KitError
from semeval_kit.training import pooling
from semeval_kit.training.recipe import TrainConfig, peak_lr
from semeval_kit.training.source import explain_failure, resolve_encoder

_DROPOUTS = {
    "hidden_dropout": ("hidden_dropout_prob", "dropout", "embedding_dropout", "mlp_dropout"),
    "attention_dropout": ("attention_probs_dropout_prob", "attention_dropout"),
    "head_dropout": (
        "classifier_dropout",
        "classifier_dropout_prob",
        "seq_classif_dropout",
        "cls_dropout",
        "pooler_dropout",
    ),
}
_FORBIDDEN_KEYS = ("auto_map", "_attn_implementation_internal")
_LAYER_LISTS = ("encoder.layer", "transformer.layer", "layers", "encoder.albert_layer_groups")


@dataclass(frozen=True)
class Targets:
    """What the head predicts.

    Attributes:
        names: of its outputs.
        exclusive: exactly one of them is true.
        n_levels: outputs per label: more than one for the cumulative events of intensities.
    """

    names: tuple[str, ...]
    exclusive: bool
    n_levels: int = 1

    @property
    def config_entries(self) -> dict[str, Any]:
        """Entries of a transformers config that make `pipeline()` answer with these names."""
        problem = "single_label_classification" if self.exclusive else "multi_label_classification"
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": problem,
        }


class Classifier(Protocol):
    """An encoder with a head, as the training loop sees it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits `(n_texts, n_targets)` of tokens `(n_texts, n_tokens)`."""
        ...

    def plain(self) -> PreTrainedModel:
        """Return the family's own classifier with these weights, ready for `save_pretrained`."""
        ...


class MeanClassifier(nn.Module):
    """A linear head on the mean of the tokens' last hidden states."""

    def __init__(self, backbone: PreTrainedModel, targets: Targets, dropout: float) -> None:
        """Put a fresh head on an encoder."""
        super().__init__()
        self.backbone = backbone
        self.targets = targets
        if backbone.config.model_type == "mpnet":
            pooling.even_head(backbone)  # chosen by the weights it comes with, not by trained ones
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.config.hidden_size, len(targets.names))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits `(n_texts, n_targets)` of tokens `(n_texts, n_tokens)`."""
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask)
        hidden: Tensor = output.last_hidden_state
        weights = pooling.token_weights(self.backbone, attention_mask).to(hidden.dtype)
        mean = (hidden * weights.unsqueeze(-1)).sum(dim=1)
        logits: Tensor = self.head(self.dropout(mean))
        return logits

    def plain(self) -> PreTrainedModel:
        """Return the family's own classifier with the head folded into one more layer."""
        return pooling.fold_mean_head(self.backbone, self.head, self.targets.config_entries)


class OwnHeadClassifier(nn.Module):
    """transformers' own classifier of a family: its head on the first token (or its own mean)."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap a model that `AutoModelForSequenceClassification` gave."""
        super().__init__()
        self.model = model

    @property
    def backbone(self) -> PreTrainedModel:
        """The encoder inside the model."""
        base: PreTrainedModel = getattr(self.model, self.model.base_model_prefix)
        return base

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits `(n_texts, n_targets)` of tokens `(n_texts, n_tokens)`."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits

    def plain(self) -> PreTrainedModel:
        """Return the model itself."""
        return self.model


def load_tokenizer(config: TrainConfig) -> Any:
    """Load the tokenizer of the recipe's encoder, padding on the right.

    Raises:
        KitError: it cannot be had.
    """
    name = resolve_encoder(config.encoder)
    with _explained(name):
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=config.revision or None, trust_remote_code=False
        )
    tokenizer.padding_side = "right"
    return tokenizer


def load_classifier(config: TrainConfig, targets: Targets) -> MeanClassifier | OwnHeadClassifier:
    """Load the encoder in fp32 with a fresh head; seed torch before, for the head's weights.

    Raises:
        KitError: the encoder cannot be had, wants code of its own, has no safetensors, or
            cannot be pooled or frozen as the recipe says.
    """
    name = resolve_encoder(config.encoder)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    common = {"revision": config.revision or None, "trust_remote_code": False}
    with _explained(name):
        _refuse_foreign_code(name, config.revision)
        settings = AutoConfig.from_pretrained(name, **common)
        if getattr(settings, pooling.FOLDED, False):
            raise KitError(
                f"encoder '{name}' is a finished model of this kit: its last layer holds a head "
                "and cannot be trained further. Start from the encoder that it was trained from."
            )
        _override_dropouts(settings, config)
        weights = {**common, "dtype": torch.float32, "use_safetensors": True, "config": settings}
        own_mean = hasattr(settings, "classifier_pooling")
        if config.pooling == "mean" and not own_mean:
            pooling.require_room(settings, len(targets.names))
            backbone = AutoModel.from_pretrained(name, **weights)
            if getattr(backbone, "pooler", None) is not None:
                backbone.pooler = None
            dropout = config.head_dropout if config.head_dropout >= 0 else 0.1
            model: MeanClassifier | OwnHeadClassifier = MeanClassifier(backbone, targets, dropout)
        else:
            if own_mean:
                settings.classifier_pooling = config.pooling
            for key, value in targets.config_entries.items():
                setattr(settings, key, value)
            model = OwnHeadClassifier(
                AutoModelForSequenceClassification.from_pretrained(
                    name, ignore_mismatched_sizes=True, **weights
                )
            )
    _freeze(model.backbone, config)
    return model


def parameter_groups(
    model: MeanClassifier | OwnHeadClassifier, config: TrainConfig
) -> list[dict[str, Any]]:
    """Group trainable parameters: encoder and head, each with and without weight decay.

    Biases and the weights of norms, which are the parameters of one dimension, do not decay.
    """
    inside = {id(p) for p in model.backbone.parameters()}
    lr = peak_lr(config, int(model.backbone.config.hidden_size))
    groups = []
    for in_encoder in (True, False):
        for decays in (True, False):
            params = [
                p
                for p in model.parameters()
                if p.requires_grad and (id(p) in inside) is in_encoder and (p.ndim > 1) is decays
            ]
            if params:
                groups.append(
                    {
                        "params": params,
                        "lr": lr if in_encoder else config.head_lr,
                        "weight_decay": config.weight_decay if decays else 0.0,
                    }
                )
    return groups


def encoder_layers(backbone: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of an encoder, lowest first.

    Raises:
        KitError: the encoder keeps its layers where this module does not look.
    """
    for path in _LAYER_LISTS:
        found: Any = backbone
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise KitError(
        f"encoder of kind '{backbone.config.model_type}': its layers cannot be found, so they "
        "cannot be frozen. Set freeze_layers = 0."
    )


def _freeze(backbone: PreTrainedModel, config: TrainConfig) -> None:
    for module in _frozen_modules(backbone, config):
        for parameter in module.parameters():
            parameter.requires_grad = False


def _frozen_modules(backbone: PreTrainedModel, config: TrainConfig) -> Iterator[nn.Module]:
    if config.freeze_layers or config.freeze_embeddings:
        for name in ("embeddings", "embeddings_project"):
            if hasattr(backbone, name):
                yield getattr(backbone, name)
    if not config.freeze_layers:
        return
    layers = encoder_layers(backbone)
    n_frozen = config.freeze_layers % len(layers) if config.freeze_layers < 0 else 0
    n_frozen = n_frozen or config.freeze_layers
    if not 0 < n_frozen <= len(layers):
        raise KitError(
            f"freeze_layers = {config.freeze_layers}: the encoder has {len(layers)} layers "
            "(ALBERT counts the groups that share weights). Choose a smaller number."
        )
    yield from layers[:n_frozen]


def _override_dropouts(settings: Any, config: TrainConfig) -> None:
    for field, names in _DROPOUTS.items():
        value = getattr(config, field)
        for name in names:
            if value >= 0 and hasattr(settings, name):
                setattr(settings, name, value)


def _refuse_foreign_code(name: str, revision: str) -> None:
    folder = Path(name)
    if folder.is_dir():
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    else:
        from transformers import PreTrainedConfig

        content, _ = PreTrainedConfig.get_config_dict(name, revision=revision or None)
    found = sorted({key for key in _all_keys(content) if key in _FORBIDDEN_KEYS})
    if found:
        raise KitError(
            f"encoder '{name}': its config.json has {', '.join(found)}, which asks for code from "
            "the model's author to be run. The kit never does that; choose another encoder."
        )


def _all_keys(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        yield from content
        content = list(content.values())
    for value in content if isinstance(content, list) else ():
        yield from _all_keys(value)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what transformers raises while loading into an error with a remedy."""
    try:
        yield
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise explain_failure(name, error) from error
