"""The mean head, folded into a plain transformers model: the same logits in every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from semeval_kit.errors import KitError
from semeval_kit.training.encoder import Targets, load_classifier
from semeval_kit.training.pooling import fold_mean_head, require_room, token_weights
from semeval_kit.training.recipe import make_config

FOLDED = (
    "bert",
    "roberta",
    "distilbert",
    "deberta",
    "deberta-v2",
    "electra",
    "albert",
    "mpnet",
    "xlm-roberta",
)
N_TARGETS = 5


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    mask = torch.ones(4, 20, dtype=torch.long)
    for row, length in enumerate((20, 7, 15, 1)):
        mask[row, length:] = 0
    ids = torch.randint(5, 60, (4, 20), generator=draw)
    return {"input_ids": ids, "attention_mask": mask}


def load(folder: Path) -> nn.Module:
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def make_head() -> nn.Linear:
    torch.manual_seed(3)
    head = nn.Linear(32, N_TARGETS)
    nn.init.normal_(head.weight, std=0.4)
    return head


@pytest.mark.parametrize("family", FOLDED)
@torch.no_grad()
def test_the_saved_model_gives_the_head_of_the_mean(
    family: str,
    tiny_encoder: Callable[[str], Path],
    batch: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    backbone, head = load(tiny_encoder(family)), make_head()
    pad_id = backbone.config.pad_token_id or 0
    batch["input_ids"][batch["attention_mask"] == 0] = pad_id
    hidden = backbone(**batch).last_hidden_state
    expected = head((hidden * token_weights(backbone, batch["attention_mask"])[..., None]).sum(1))
    assert expected.abs().max() > 1

    names = {"num_labels": N_TARGETS, "problem_type": "multi_label_classification"}
    fold_mean_head(backbone, head, names).save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    assert again.config.problem_type == "multi_label_classification"
    assert (again.eval()(**batch).logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize("family", FOLDED)
def test_the_mean_is_even_over_tokens_and_blind_to_padding(
    family: str, tiny_encoder: Callable[[str], Path], batch: dict[str, torch.Tensor]
) -> None:
    weights = token_weights(load(tiny_encoder(family)), batch["attention_mask"])
    assert torch.all(weights[batch["attention_mask"] == 0] == 0)
    assert torch.allclose(weights.sum(dim=1), torch.ones(4))
    if family != "mpnet":  # whose own position bias stays in the mean
        assert torch.allclose(weights[1, :7], torch.full((7,), 1 / 7))


@torch.no_grad()
def test_large_logits_come_through(
    tiny_bert: Path, batch: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    backbone, head = load(tiny_bert), make_head()
    head.weight.mul_(6)
    hidden = backbone(**batch).last_hidden_state
    expected = head((hidden * token_weights(backbone, batch["attention_mask"])[..., None]).sum(1))
    assert expected.abs().max() > 10
    found = fold_mean_head(backbone, head, {"num_labels": N_TARGETS})(**batch).logits
    # What is lost grows with the cube of the logit, far out where probabilities are 0 or 1.
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max() ** 2
    assert (found.sigmoid() - expected.sigmoid()).abs().max() < 1e-4


def test_a_narrow_encoder_is_refused_before_training(tiny_bert: Path) -> None:
    many = Targets(tuple(f"event {number}" for number in range(18)), exclusive=False)
    config = make_config({"encoder": str(tiny_bert)}, "a test")
    with pytest.raises(KitError, match="18 targets do not fit its hidden size 32.*--pooling cls"):
        load_classifier(config, many)
    cls = make_config({"encoder": str(tiny_bert), "pooling": "cls"}, "a test")
    assert load_classifier(cls, many).model.config.num_labels == 18


def test_the_width_that_is_needed_is_exact(tiny_encoder: Callable[[str], Path]) -> None:
    config = load(tiny_encoder("bert")).config
    require_room(config, 15)  # 2 * 15 + 2 spare dimensions are 32
    with pytest.raises(KitError, match="16 targets"):
        require_room(config, 16)
    config = load(tiny_encoder("mpnet")).config
    require_room(config, 15)  # head size 16
    with pytest.raises(KitError, match="16 targets"):
        require_room(config, 16)


def test_a_kind_that_cannot_be_folded_is_refused(tiny_encoder: Callable[[str], Path]) -> None:
    config = load(tiny_encoder("bert")).config
    config.model_type = "funnel"
    with pytest.raises(KitError, match="kind 'funnel'.*--pooling cls"):
        require_room(config, 2)
