"""The mean head: folded into one more layer of an encoder, or laid beside it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from semeval_kit.training.head import Classifier

Layout = Literal["pipeline", "encoder-and-head"]
# Attribute paths of one layer: query/key tensors to clear, value, attention output, its norm,
# the two feed-forward matrices and the last norm.
_BERT = {
    "zero": ("attention.self.query", "attention.self.key"),
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norms": ("attention.output.LayerNorm", "output.LayerNorm"),
    "feed": ("intermediate.dense", "output.dense"),
}
_LAYERS: dict[str, dict[str, Any]] = {
    "bert": {"list": "encoder.layer", **_BERT},
    "roberta": {"list": "encoder.layer", **_BERT},
    "xlm-roberta": {"list": "encoder.layer", **_BERT},
    "camembert": {"list": "encoder.layer", **_BERT},
    "electra": {"list": "encoder.layer", **_BERT},
    "deberta-v2": {
        "list": "encoder.layer",
        **_BERT,
        "zero": (
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.pos_key_proj",
            "attention.self.pos_query_proj",
        ),
        "value": "attention.self.value_proj",
    },
    "deberta": {
        "list": "encoder.layer",
        **_BERT,
        "zero": ("attention.self.pos_proj", "attention.self.pos_q_proj"),
        "value": "attention.self.in_proj",
    },
    "distilbert": {
        "list": "transformer.layer",
        "zero": ("attention.q_lin", "attention.k_lin"),
        "value": "attention.v_lin",
        "out": "attention.out_lin",
        "norms": ("sa_layer_norm", "output_layer_norm"),
        "feed": ("ffn.lin1", "ffn.lin2"),
    },
}
# The first dense layer of each family's own head and what follows it.
_HEADS = {
    "bert": ("bert.pooler.dense", "tanh", "classifier"),
    "deberta": ("pooler.dense", "even", "classifier"),
    "deberta-v2": ("pooler.dense", "even", "classifier"),
    "distilbert": ("pre_classifier", "even", "classifier"),
    "electra": ("classifier.dense", "even", "classifier.out_proj"),
}
_ROBERTA_HEAD = ("classifier.dense", "tanh", "classifier.out_proj")
_GAIN = 2.0**22  # lifts the logits so far above the first token's own vector that fp32 drops it
_CONSTANT = 2.0**12  # against logits of order 1 this leaves the norms linear to about 1e-6
_SMALL = 2.0**-12  # tanh(x) = x to within x^3 / 3


def can_fold(config: Any, n_targets: int) -> bool:
    """Tell whether a head of so many targets can be folded into an encoder with this config.

    Each target takes two dimensions of the layer.
    """
    entries = config if isinstance(config, dict) else config.to_dict()
    width = entries.get("hidden_size") or entries.get("dim") or 0
    return entries.get("model_type") in _LAYERS and 2 * n_targets + 2 <= width


def fold_mean_head(classifier: Classifier) -> PreTrainedModel:
    """Return the family's own classifier that computes what an encoder with a mean head does.

    Returns:
        A model in fp32 on the CPU, in evaluation mode.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    backbone, head = classifier.backbone, classifier.head
    assert head is not None
    config = copy.deepcopy(backbone.config)
    depth = config.num_hidden_layers
    config.num_hidden_layers = depth + 1
    names = classifier.targets.names  # and no auxiliary ones, which come after them
    for key, value in classifier.targets.config_entries(names).items():
        setattr(config, key, value)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    base: Any = getattr(model, model.base_model_prefix)
    state = {k: v.detach().cpu().float() for k, v in backbone.state_dict().items()}
    base.load_state_dict(state, strict=False)
    paths = _LAYERS[config.model_type]
    layer = base.get_submodule(paths["list"])[depth]
    with torch.no_grad():
        _write_layer(layer, paths, head.weight[: len(names)].detach().cpu().float())
        _write_head(model, config.model_type, head.bias[: len(names)].detach().cpu().float())
    folded: PreTrainedModel = model.eval()
    return folded


def choose_layout(model_dir: Path) -> tuple[Layout, bool]:
    """How a fold's model is exported, and whether its head reads the mean of the tokens."""
    head_file = model_dir / "head.json"
    if not head_file.is_file():
        return "pipeline", False
    # Known by the folder's own manifest.
    head = json.loads(head_file.read_bytes())
    if head["pooling"] == "own":
        return "pipeline", False
    n_targets = sum(len(t["names"]) for t in head["targets"] if not t.get("auxiliary"))
    folds = can_fold(json.loads((model_dir / "config.json").read_bytes()), n_targets)
    return ("pipeline" if folds else "encoder-and-head"), True


def _write_layer(layer: Any, names: dict[str, Any], weight: Tensor) -> None:
    import torch

    n_targets, width = weight.shape
    for part in names["zero"]:
        if hasattr(layer.get_submodule(part.rpartition(".")[0]), part.rpartition(".")[2]):
            _clear(layer.get_submodule(part))
    value = layer.get_submodule(names["value"])
    _clear(value)
    if value.weight.shape[0] == 3 * width:  # DeBERTa: query, key and value of a head in one matrix
        size = width // layer.attention.self.num_attention_heads
        layer.attention.self.q_bias.zero_()
        layer.attention.self.v_bias.zero_()
        rows = [(r // size) * 3 * size + 2 * size + r % size for r in range(n_targets)]
        value.weight[rows] = weight * _GAIN
    else:
        value.weight[:n_targets] = weight * _GAIN
    out = layer.get_submodule(names["out"])
    _clear(out)
    index = torch.arange(n_targets)
    out.weight[2 * index, index] = 1.0
    out.weight[2 * index + 1, index] = -1.0
    out.bias[2 * n_targets] = _GAIN * _CONSTANT
    out.bias[2 * n_targets + 1] = -_GAIN * _CONSTANT
    for part in names["feed"]:
        _clear(layer.get_submodule(part))
    for part in names["norms"]:
        norm = layer.get_submodule(part)
        norm.weight.fill_(_CONSTANT * (2.0 / width) ** 0.5)
        norm.bias.zero_()


def _write_head(model: Any, kind: str, bias: Tensor) -> None:
    import torch

    dense_name, activation, out_name = _HEADS.get(kind, _ROBERTA_HEAD)
    dense, out = model.get_submodule(dense_name), model.get_submodule(out_name)
    index = torch.arange(len(bias))
    scale = _SMALL if activation == "tanh" else 1.0
    _clear(dense)
    _clear(out)
    # f(x) - f(-x) is x for relu and gelu, and 2x for tanh of small x.
    dense.weight[2 * index, 2 * index] = scale
    dense.weight[2 * index + 1, 2 * index + 1] = scale
    factor = 0.5 / scale if activation == "tanh" else 1.0
    out.weight[index, 2 * index] = factor
    out.weight[index, 2 * index + 1] = -factor
    out.bias.copy_(bias)


def _clear(linear: Any) -> None:
    linear.weight.zero_()
    if linear.bias is not None:
        linear.bias.zero_()
