"""Mean pooling that survives `save_pretrained`.

transformers' own classifiers of most families read the first token. A head on the mean of all
tokens would need code beside the weights, which nobody who opens a model folder should have to
run. So the head is folded into one more layer of the encoder's own kind when the model is saved:

- its attention has zero queries and keys, so every token weighs the same and masked ones nothing;
- its values are the logits of each token, so what the first position receives is the mean of the
  tokens' logits, which is the head's output on the mean of the tokens;
- a large constant in two spare dimensions makes both layer norms linear to within fp32 rounding,
  and the mean of the vector zero, so that the logits come through unchanged.

The folder is then an ordinary `...ForSequenceClassification` with one layer more, and gives the
trained probabilities. fp16 cannot hold the constants: use fp32 or bf16.

MPNet adds a position bias to every layer's attention that no weight can cancel; its mean is
therefore weighted, in training too, by the bias of the one head whose weights are most even.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from semeval_kit.errors import KitError

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
    "mpnet": {
        "list": "encoder.layer",
        "zero": ("attention.attn.q", "attention.attn.k"),
        "value": "attention.attn.v",
        "out": "attention.attn.o",
        "norms": ("attention.LayerNorm", "output.LayerNorm"),
        "feed": ("intermediate.dense", "output.dense"),
    },
    "distilbert": {
        "list": "transformer.layer",
        "zero": ("attention.q_lin", "attention.k_lin"),
        "value": "attention.v_lin",
        "out": "attention.out_lin",
        "norms": ("sa_layer_norm", "output_layer_norm"),
        "feed": ("ffn.lin1", "ffn.lin2"),
    },
    "albert": {
        "list": "encoder.albert_layer_groups",
        "zero": ("attention.query", "attention.key"),
        "value": "attention.value",
        "out": "attention.dense",
        "norms": ("attention.LayerNorm", "full_layer_layer_norm"),
        "feed": ("ffn", "ffn_output"),
    },
}
# The first dense layer of each family's own head and what follows it.
_HEADS = {
    "bert": ("bert.pooler.dense", "tanh", "classifier"),
    "albert": ("albert.pooler", "tanh", "classifier"),
    "deberta": ("pooler.dense", "even", "classifier"),
    "deberta-v2": ("pooler.dense", "even", "classifier"),
    "distilbert": ("pre_classifier", "even", "classifier"),
    "electra": ("classifier.dense", "even", "classifier.out_proj"),
}
_ROBERTA_HEAD = ("classifier.dense", "tanh", "classifier.out_proj")

FOLDED = "mean_head_folded"  # in the config of a model whose last layer is such a head

_GAIN = 2.0**22  # lifts the logits so far above the first token's own vector that fp32 drops it
_CONSTANT = 2.0**12  # against logits of order 1 this leaves the norms linear to about 1e-6
_SMALL = 2.0**-12  # tanh(x) = x to within x^3 / 3


def require_room(config: Any, n_targets: int) -> None:
    """See that the head of so many targets can be saved with an encoder.

    Raises:
        KitError: the kind of encoder is unknown here, or too narrow for the targets.
    """
    kind = config.model_type
    if kind not in _LAYERS or getattr(config, "inner_group_num", 1) != 1:
        raise KitError(
            f"encoder of kind '{kind}': its mean head cannot be saved as a plain transformers "
            "model. Use --pooling cls with this encoder."
        )
    room = min(config.hidden_size - 2, 2 * _head_size(config) if kind == "mpnet" else 10**9)
    if 2 * n_targets > room:
        raise KitError(
            f"encoder of kind '{kind}': {n_targets} targets do not fit its hidden size "
            f"{config.hidden_size}. Use --pooling cls, or a wider encoder."
        )


def token_weights(backbone: PreTrainedModel, mask: Tensor) -> Tensor:
    """Weights of the tokens in the mean.

    Args:
        backbone: the encoder without a head.
        mask: `(n_texts, n_tokens)`, 1 for a token and 0 for padding.

    Returns:
        `(n_texts, n_tokens)` that sum to 1 in each row: even, but for MPNet (see the module).
    """
    if backbone.config.model_type == "mpnet":
        bias = _mpnet_bias(backbone, mask)[0, even_head(backbone), 0]
        return torch.softmax(bias.float().masked_fill(mask == 0, -torch.inf), dim=-1)
    weights = mask.float()
    return weights / weights.sum(dim=1, keepdim=True)


def even_head(backbone: PreTrainedModel) -> int:
    """The attention head of MPNet whose position bias is flattest seen from the first token."""
    chosen = getattr(backbone.config, "even_head", None)
    if chosen is None:
        mask = torch.ones(1, 64, dtype=torch.long, device=backbone.device)
        with torch.no_grad():
            weights = torch.softmax(_mpnet_bias(backbone, mask)[0, :, 0].float(), dim=-1)
        chosen = int((weights * 64 - 1).abs().mean(dim=1).argmin())
        backbone.config.even_head = chosen
    return int(chosen)


def fold_mean_head(
    backbone: PreTrainedModel, head: nn.Linear, settings: dict[str, Any]
) -> PreTrainedModel:
    """Return the family's own classifier that computes `head(mean(backbone(tokens)))`.

    Args:
        backbone: the trained encoder without a head.
        head: `(hidden_size -> n_targets)`.
        settings: `id2label`, `problem_type` and other entries for the config.

    Returns:
        A model in fp32 on the CPU, in evaluation mode.

    Raises:
        KitError: the kind of encoder is unknown here, or too narrow for the targets.
    """
    config = copy.deepcopy(backbone.config)
    kind, n_targets = config.model_type, head.out_features
    require_room(config, n_targets)
    depth = config.num_hidden_layers
    config.num_hidden_layers = depth + 1
    if kind == "albert":
        config.num_hidden_groups = depth + 1
    for key, value in {**settings, FOLDED: True}.items():
        setattr(config, key, value)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    base: Any = getattr(model, model.base_model_prefix)
    state = {k: v.detach().cpu().float() for k, v in backbone.state_dict().items()}
    base.load_state_dict(_unshared(state, depth) if kind == "albert" else state, strict=False)
    names = _LAYERS[kind]
    layer = base.get_submodule(names["list"])[depth]
    if kind == "albert":
        layer = layer.albert_layers[0]
    first = even_head(backbone) * _head_size(config) if kind == "mpnet" else 0
    with torch.no_grad():
        _write_layer(layer, names, head.weight.detach().cpu().float(), first)
        _write_head(model, kind, head)
    return model.eval()


def _write_layer(layer: Any, names: dict[str, Any], weight: Tensor, first: int) -> None:
    n_targets, width = weight.shape
    for part in names["zero"]:
        if hasattr(layer.get_submodule(part.rpartition(".")[0]), part.rpartition(".")[2]):
            _clear(layer.get_submodule(part))
    value = layer.get_submodule(names["value"])
    _clear(value)
    target_rows = slice(first, first + n_targets)
    if value.weight.shape[0] == 3 * width:  # DeBERTa: query, key and value of a head in one matrix
        size = width // layer.attention.self.num_attention_heads
        _clear_biases(layer.attention.self)
        rows = [(r // size) * 3 * size + 2 * size + r % size for r in range(n_targets)]
        value.weight[rows] = weight * _GAIN
    else:
        value.weight[target_rows] = weight * _GAIN
    out = layer.get_submodule(names["out"])
    _clear(out)
    index = torch.arange(n_targets)
    out.weight[2 * index, first + index] = 1.0
    out.weight[2 * index + 1, first + index] = -1.0
    out.bias[2 * n_targets] = _GAIN * _CONSTANT
    out.bias[2 * n_targets + 1] = -_GAIN * _CONSTANT
    for part in names["feed"]:
        _clear(layer.get_submodule(part))
    for part in names["norms"]:
        norm = layer.get_submodule(part)
        norm.weight.fill_(_CONSTANT * (2.0 / width) ** 0.5)
        norm.bias.zero_()


def _write_head(model: Any, kind: str, head: nn.Linear) -> None:
    dense_name, activation, out_name = _HEADS.get(kind, _ROBERTA_HEAD)
    dense, out = model.get_submodule(dense_name), model.get_submodule(out_name)
    index = torch.arange(head.out_features)
    scale = _SMALL if activation == "tanh" else 1.0
    _clear(dense)
    _clear(out)
    # f(x) - f(-x) is x for relu and gelu, and 2x for tanh of small x.
    dense.weight[2 * index, 2 * index] = scale
    dense.weight[2 * index + 1, 2 * index + 1] = scale
    factor = 0.5 / scale if activation == "tanh" else 1.0
    out.weight[index, 2 * index] = factor
    out.weight[index, 2 * index + 1] = -factor
    out.bias.copy_(head.bias.detach().cpu().float())


def _head_size(config: Any) -> int:
    return int(config.hidden_size // config.num_attention_heads)


def _mpnet_bias(backbone: PreTrainedModel, mask: Tensor) -> Tensor:
    # Only the shape of the argument is read: (n_texts, n_tokens, ...).
    encoder: Any = backbone.encoder
    bias: Tensor = encoder.compute_position_bias(mask[:1, :, None])
    return bias


def _unshared(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Copy ALBERT's shared groups out, one for each layer that uses them."""
    prefix = "encoder.albert_layer_groups."
    groups = {key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)}
    unshared = {key: value for key, value in state.items() if not key.startswith(prefix)}
    for layer in range(depth):
        group = int(layer / (depth / len(groups)))
        start = f"{prefix}{group}."
        for key, value in state.items():
            if key.startswith(start):
                unshared[f"{prefix}{layer}.{key[len(start) :]}"] = value
    return unshared


def _clear(linear: Any) -> None:
    linear.weight.zero_()
    if linear.bias is not None:
        linear.bias.zero_()


def _clear_biases(attention: Any) -> None:
    attention.q_bias.zero_()
    attention.v_bias.zero_()
