"""Encoders: checked, loaded with a head, frozen in part; and the models that runs keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    logging,
)

from semeval_kit.errors import KitError
from semeval_kit.training.head import HEAD_FILE, HEAD_WEIGHTS, Classifier, Reads
from semeval_kit.training.recipe import Recipe, peak_lr
from semeval_kit.training.source import explain_failure, resolve_encoder
from semeval_kit.training.targets import Target, Targets, parse_targets

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
# In the config of a model that an older version saved: its last layer is such a head.
_FOLDED = "mean_head_folded"
# Parameters that must come from the weights: a head and a pooler may be new.
_NEEDED = re.compile(r"(^|\.)(layers?|embeddings|albert_layer_groups)\.")


class Origin(Protocol):
    """What says which encoder is meant: a recipe, for one."""

    @property
    def encoder(self) -> str:
        """Its name, as a recipe gives it."""

    @property
    def revision(self) -> str:
        """Of a hub encoder; else empty."""


def load_tokenizer(origin: Origin) -> Any:
    """Load the tokenizer of an encoder, padding on the right.

    Raises:
        KitError: it cannot be had, or knows no words.
    """
    name = resolve_encoder(origin.encoder)
    with _explained(name):
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=origin.revision or None, trust_remote_code=False
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise KitError(
            f"encoder '{name}': its tokenizer knows no words, so every token would be unknown. "
            "Put the encoder's tokenizer files (tokenizer.json, vocab.txt ...) beside its weights."
        )
    tokenizer.padding_side = "right"
    return tokenizer


def load_bare(origin: Origin) -> PreTrainedModel:
    """Load an encoder in fp32 as it comes, without a head.

    Raises:
        KitError: it cannot be had, wants code of its own, has no safetensors, or lacks weights that
            its config asks for.
    """
    name = resolve_encoder(origin.encoder)
    with _explained(name):
        _refuse_foreign_code(name, origin.revision)
        return _load_network(AutoModel, name, origin.revision)


def load_masked(origin: Origin) -> PreTrainedModel:
    """Load an encoder in fp32 with its head for masked language modelling.

    Raises:
        KitError: as `load_bare`, or the encoder comes without such a head.
    """
    name = resolve_encoder(origin.encoder)
    with _explained(name):
        _refuse_foreign_code(name, origin.revision)
        return _load_network(AutoModelForMaskedLM, name, origin.revision)


def load_classifier(recipe: Recipe, targets: Targets) -> Classifier:
    """Load the encoder in fp32 with a fresh head; seed torch before, for the head's weights.

    Raises:
        KitError: the encoder cannot be had, wants code of its own, has no safetensors, lacks
            weights that its config asks for, or cannot be frozen as the recipe says.
    """
    name, revision = resolve_encoder(recipe.encoder), recipe.revision
    with _explained(name):
        _refuse_foreign_code(name, revision)
        settings = AutoConfig.from_pretrained(
            name, revision=revision or None, trust_remote_code=False
        )
        if getattr(settings, _FOLDED, False):
            raise KitError(
                f"encoder '{name}' is a model that an older version of this kit saved: its last "
                "layer holds a head and cannot be trained further. Start from the encoder that "
                "it was trained from."
            )
        _override_dropouts(settings, recipe)
        own_mean = hasattr(settings, "classifier_pooling")
        reads: Reads = "own"
        if recipe.pairs == "apart":
            reads = "apart"
        elif recipe.pooling == "layers" or (recipe.pooling == "mean" and not own_mean):
            reads = recipe.pooling
        elif own_mean:
            settings.classifier_pooling = recipe.pooling
        if reads == "own":
            for key, value in targets.config_entries(targets.columns).items():
                setattr(settings, key, value)
        kind = AutoModelForSequenceClassification if reads == "own" else AutoModel
        network = _load_network(kind, name, revision, config=settings)
    if recipe.multi_dropout > 1 and reads == "own":
        raise KitError("multi_dropout needs the mean of tokens: use --pooling mean.")
    model = Classifier(
        network,
        targets,
        reads=reads,
        dropout=recipe.head_dropout,
        samples=recipe.multi_dropout,
    )
    for module in frozen_modules(model.backbone, recipe):
        module.requires_grad_(False)
    return model


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Classifier:
    """Load what `Classifier.save` wrote, on the CPU and in evaluation mode.

    Folders of older versions, which are transformers' own classifiers alone, are read, too.

    Raises:
        KitError: a file is missing or cannot be used.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with _explained(str(folder)):
        # Known by the folder's own manifest, as all files beside it.
        text = (folder / HEAD_FILE).read_bytes() if (folder / HEAD_FILE).is_file() else b"{}"
        head = json.loads(text)
        reads: Reads = "apart" if head.get("pairs") == "apart" else head.get("pooling", "own")
        kind = AutoModelForSequenceClassification if reads == "own" else AutoModel
        network = kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        targets = parse_targets(head) if head else _read_old_targets(network.config)
        model = Classifier(network, targets, reads=reads)
        if model.head is not None:
            model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    return model.eval()


def _read_old_targets(config: Any) -> Targets:
    exclusive = config.problem_type == "single_label_classification"
    names = tuple(config.id2label[index] for index in range(len(config.id2label)))
    return Targets((Target("singlelabel" if exclusive else "multilabel", names),))


def parameter_groups(model: Classifier, recipe: Recipe) -> list[dict[str, Any]]:
    """Group trainable parameters: encoder and head, each with and without weight decay.

    Biases and the weights of norms, which are the parameters of one dimension, do not decay. With
    `layer_decay` each layer of the encoder has groups of its own, and the embeddings are lowest.
    """
    peak = peak_lr(recipe, int(model.backbone.config.hidden_size))
    inside = {id(p): peak for p in model.backbone.parameters()}
    if recipe.layer_decay < 1:
        inside |= _decay_rates(model.backbone, peak, recipe.layer_decay)
    rates = [(p, inside.get(id(p), recipe.head_lr)) for p in model.parameters()]
    return group_parameters(rates, recipe.weight_decay)


def group_parameters(
    rates: Iterable[tuple[nn.Parameter, float]], weight_decay: float
) -> list[dict[str, Any]]:
    """Group the parameters that learn by their learning rate, and by whether they decay."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter, rate in rates:
        if parameter.requires_grad:
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": params, "lr": rate, "weight_decay": weight_decay if decays else 0.0}
        for (rate, decays), params in groups.items()
    ]


def _decay_rates(backbone: PreTrainedModel, peak: float, decay: float) -> dict[int, float]:
    """The learning rates of the parameters in layers and embeddings, by `id`."""
    layers = list(reversed(encoder_layers(backbone)))
    rates = {
        id(p): peak * decay**depth for depth, layer in enumerate(layers) for p in layer.parameters()
    }
    for embeddings in _embedding_modules(backbone):
        rates |= {id(p): peak * decay ** len(layers) for p in embeddings.parameters()}
    return rates


def describe_model(model: Classifier, recipe: Recipe) -> dict[str, Any]:
    """What became of a recipe with this encoder: learning rate, dropouts, number of parameters."""
    settings, parameters = model.backbone.config, list(model.parameters())
    dropouts = {
        field: next((float(getattr(settings, n)) for n in names if hasattr(settings, n)), None)
        for field, names in _DROPOUTS.items()
    }
    return {
        "peak_lr": peak_lr(recipe, int(settings.hidden_size)),
        **dropouts,
        "head_dropout": recipe.head_dropout,
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
    }


def encoder_layers(backbone: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of an encoder, lowest first.

    Raises:
        KitError: the encoder keeps its layers where this module does not look.
    """
    for path in _LAYER_LISTS:
        layers: Any = backbone
        for part in path.split("."):
            layers = getattr(layers, part, None)
        if isinstance(layers, nn.ModuleList):
            return list(layers)
    raise KitError(
        f"encoder of kind '{backbone.config.model_type}': its layers cannot be found, so they "
        "cannot be told apart. Set freeze_layers = 0 and layer_decay = 1."
    )


def _embedding_modules(backbone: PreTrainedModel) -> Iterator[nn.Module]:
    for name in ("embeddings", "embeddings_project"):
        if hasattr(backbone, name):
            yield getattr(backbone, name)


def frozen_modules(backbone: PreTrainedModel, recipe: Recipe) -> Iterator[nn.Module]:
    """The parts of an encoder that the recipe keeps as they are.

    Raises:
        KitError: its layers cannot be found, or are fewer than the recipe freezes.
    """
    if recipe.freeze_layers or recipe.freeze_embeddings:
        yield from _embedding_modules(backbone)
    if not recipe.freeze_layers:
        return
    layers = encoder_layers(backbone)
    n_frozen = recipe.freeze_layers % len(layers) if recipe.freeze_layers < 0 else 0
    n_frozen = n_frozen or recipe.freeze_layers
    if not 0 < n_frozen <= len(layers):
        raise KitError(
            f"freeze_layers = {recipe.freeze_layers}: the encoder has {len(layers)} layers "
            "(ALBERT counts the groups that share weights). Choose a smaller number."
        )
    yield from layers[:n_frozen]


def _override_dropouts(settings: Any, recipe: Recipe) -> None:
    for field, names in _DROPOUTS.items():
        value = getattr(recipe, field)
        for name in names:
            if value is not None and hasattr(settings, name):
                setattr(settings, name, value)


def _load_network(kind: Any, name: str, revision: str, **options: Any) -> PreTrainedModel:
    """Load weights in fp32; what transformers would fill up with random parameters is refused."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    network: PreTrainedModel
    network, info = kind.from_pretrained(
        name,
        revision=revision or None,
        trust_remote_code=False,
        dtype=torch.float32,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
    )
    lacking = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    needed = sorted(key for key in lacking if _NEEDED.search(key))
    if kind is AutoModelForMaskedLM and lacking and not needed:
        raise KitError(
            f"encoder '{name}': it comes without its head for masked language modelling "
            f"({min(lacking)} is missing), as encoders do that were trained further for another "
            "end. Set mlm_epochs = 0, or start from the encoder that it was made from."
        )
    if needed:
        raise KitError(
            f"encoder '{name}': its weights lack {len(needed)} parameters that its config.json "
            f"asks for, such as {needed[0]}, or have them in other sizes. The files do not belong "
            "together; fetch them again."
        )
    return network


def _refuse_foreign_code(name: str, revision: str) -> None:
    folder = Path(name)
    if folder.is_dir():
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    else:
        from transformers import PreTrainedConfig

        content, _ = PreTrainedConfig.get_config_dict(name, revision=revision or None)
    forbidden = sorted({key for key in _all_keys(content) if key in _FORBIDDEN_KEYS})
    if forbidden:
        raise KitError(
            f"encoder '{name}': its config.json has {', '.join(forbidden)}, which asks for code "
            "from the model's author to be run. The kit never does that; choose another encoder."
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
