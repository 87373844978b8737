from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from semeval_kit.errors import KitError
from semeval_kit.show.explain import attributions
from semeval_kit.show.explain.attributions import Attribution, count_evals, explain_texts, name_mask
from semeval_kit.training.fold import FoldModel
from semeval_kit.training.head import Classifier
from semeval_kit.training.targets import Target, Targets

TEXT = "bara wondi dora mourno lusi kitu zappo mera"
LABELS = ("anger", "fear", "joy")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def make_model(tiny_encoder: Callable[[str], Path]) -> Callable[..., FoldModel]:
    """An encoder of a family with a random head, loud enough for probabilities to differ."""

    def make(family: str = "bert", seed: int = 0, exclusive: bool = False) -> FoldModel:
        folder = tiny_encoder(family)
        torch.manual_seed(seed)  # after the encoder, which may have to be built with its own seed
        kind = "single" if exclusive else "multi"
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=3, problem_type=f"{kind}_label_classification"
        ).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:
                    parameter.mul_(30 if "classifier" in name or "pooler" in name else 4)
        target = Target("singlelabel" if exclusive else "multilabel", LABELS)
        classifier = Classifier(model, Targets((target,)), reads="own")
        return FoldModel(AutoTokenizer.from_pretrained(folder), classifier, 48)

    return make


def explain(models: list[FoldModel], text: str = TEXT, **options: object) -> Attribution:
    return next(explain_texts(models, [text], **options))


def predict(model: FoldModel, ids: list[int], exclusive: bool = False) -> np.ndarray:
    with torch.no_grad():
        logits = model.classifier.network(input_ids=torch.tensor([ids])).logits[0].double()
    return (torch.softmax(logits, 0) if exclusive else torch.sigmoid(logits)).numpy()


def made_of_words(model: FoldModel, logits_of: Callable[..., torch.Tensor]) -> SimpleNamespace:
    """A model of the word embeddings alone; logits so small that the sigmoid is linear."""
    words = model.embeddings
    return SimpleNamespace(
        tokenizer=model.tokenizer,
        classifier=words,
        embeddings=words,
        forward_probs=lambda input_ids: torch.sigmoid(logits_of(words(input_ids)).double()),
    )


@pytest.mark.parametrize("exclusive", [False, True])
def test_base_and_probs_are_those_of_the_model(make_model, exclusive: bool):
    model = make_model(exclusive=exclusive)
    ids = model.tokenizer(TEXT)["input_ids"]
    masked = [ids[0], *[model.tokenizer.mask_token_id] * (len(ids) - 2), ids[-1]]
    found = explain([model], max_evals=20)
    np.testing.assert_allclose(found.probs, predict(model, ids, exclusive), atol=1e-6)
    np.testing.assert_allclose(found.base, predict(model, masked, exclusive), atol=1e-6)
    if exclusive:
        assert found.probs.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("max_evals", [4, 30, 500])
def test_shap_sums_to_the_probability_whatever_the_cap(make_model, max_evals: int):
    found = explain([make_model(seed=1), make_model(seed=2)], max_evals=max_evals)
    assert np.abs(found.gaps).max() < 1e-6
    assert np.abs(found.values).max() > 0.02


def test_shap_equals_owen_values_by_their_definition(make_model):
    """Over all orders that keep the groups of shap's tree together; here three words."""
    model = make_model()
    text = "wondi mourno zappo"
    found = explain([model], text, max_evals=500)
    ids = model.tokenizer(text)["input_ids"]

    def value(kept: set[int]) -> np.ndarray:
        mask = model.tokenizer.mask_token_id
        own = [ids[k + 1] if k in kept else mask for k in range(3)]
        return predict(model, [ids[0], *own, ids[-1]])

    tree = attributions.import_shap().maskers._text.partition_tree(["wondi", "mourno", "zappo"], [])
    pair = {int(tree[0, 0]), int(tree[0, 1])}
    (alone,) = {0, 1, 2} - pair
    left, right = sorted(pair)
    orders = [
        [left, right, alone],
        [right, left, alone],
        [alone, left, right],
        [alone, right, left],
    ]
    expected = np.zeros((3, 3))
    for order in orders:
        for place, token in enumerate(order):
            gain = value(set(order[: place + 1])) - value(set(order[:place]))
            expected[token] += gain / len(orders)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "mpnet", "distilbert"])
def test_gradients_sum_to_the_probability(make_model, family: str):
    found = explain([make_model(family, seed=2)], method="ig", max_evals=200)
    assert np.abs(found.gaps).max() < 2e-3
    assert np.abs(found.values).max() > 0.02


def test_gradients_are_those_of_captum_and_one_forward_pass_serves_all_labels(make_model):
    """The reference: captum 0.9's LayerIntegratedGradients("riemann_middle") spelled out."""
    model = make_model("roberta")
    ids = torch.tensor(model.tokenizer(TEXT)["input_ids"])[None]
    base = ids.clone()
    base[0, 1:-1] = model.tokenizer.mask_token_id
    layer = model.embeddings
    text, start = layer(ids).detach(), layer(base).detach()
    expected = torch.zeros(ids.shape[1], 3, dtype=torch.float64)
    for step in range(20):
        point = (start + (step + 0.5) / 20 * (text - start)).requires_grad_()
        for label in range(3):
            # inputs_embeds: by another way than the explanation's, which replaces the output.
            logits = model.classifier.network(
                inputs_embeds=point, attention_mask=torch.ones_like(ids)
            ).logits
            slope = torch.autograd.grad(torch.sigmoid(logits.double())[0, label], point)[0]
            expected[:, label] += (slope * (text - start))[0].double().sum(dim=-1) / 20
    passes: list[int] = []
    counter = model.classifier.register_forward_hook(lambda *_: passes.append(1))
    found = explain([model], method="ig", max_evals=20)
    counter.remove()
    np.testing.assert_allclose(found.values, expected[1:-1].numpy(), atol=1e-6)
    assert found.n_tokens == ids.shape[1] - 2
    # Base and probability in one, the 20 points of the path in the other.
    assert len(passes) == 2


def test_gradients_of_a_quadratic_model_are_the_integral_itself(make_model):
    """f = (sum of words)^2: the middles of equal steps integrate its linear slope exactly."""
    model = make_model()
    embeddings = model.embeddings
    head = torch.randn(embeddings.weight.shape[1], 3, generator=torch.Generator().manual_seed(4))

    quadratic = made_of_words(model, lambda words: 1e-4 * (words @ head).sum(dim=1) ** 2)
    coded = torch.tensor(model.tokenizer(TEXT)["input_ids"])
    masked = coded.clone()
    masked[1:-1] = model.tokenizer.mask_token_id
    words, base = (embeddings.weight.detach()[ids] @ head for ids in (coded, masked))
    # The integral of 2 (s + t d) g over t in 0..1, s and d being sums over all words.
    slope = 2 * base.sum(0) + (words - base).sum(0)
    expected = 1e-4 * ((words - base) * slope)[1:-1].numpy() / 4
    found = explain([quadratic], method="ig", max_evals=8)
    np.testing.assert_allclose(found.values, expected, atol=2e-7)


def test_gradients_of_a_model_that_adds_up_its_words_are_exact(make_model):
    """Logits linear in the embeddings: both methods must give each word its own share."""
    model = make_model()
    embeddings = model.embeddings
    head = torch.randn(embeddings.weight.shape[1], 3, generator=torch.Generator().manual_seed(3))

    linear = made_of_words(model, lambda words: 1e-4 * (words @ head).sum(dim=1))
    ids = model.tokenizer(TEXT)["input_ids"][1:-1]
    weights = embeddings.weight.detach()
    gain = weights[ids] - weights[model.tokenizer.mask_token_id]
    expected = 1e-4 * (gain @ head).numpy() / 4
    for method in ("shap", "ig"):
        found = explain([linear], method=method)
        np.testing.assert_allclose(found.values, expected, atol=2e-8)


def test_the_ensemble_is_the_mean_of_its_folds(make_model):
    models = [make_model(seed=1), make_model(seed=2)]
    for method in ("shap", "ig"):
        parts = [explain([model], method=method, max_evals=200) for model in models]
        both = explain(models, method=method, max_evals=200)
        mean = np.mean([part.values for part in parts], axis=0)
        np.testing.assert_allclose(both.values, mean, atol=1e-6)
        np.testing.assert_allclose(both.probs, np.mean([p.probs for p in parts], axis=0), atol=1e-9)


@pytest.mark.parametrize("method", ["shap", "ig"])
def test_same_seed_same_bytes_and_numpy_s_generator_is_left_alone(make_model, method: str):
    model = make_model()
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    first = explain([model], method=method, max_evals=30, seed=7).values.tobytes()
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002
    assert explain([model], method=method, max_evals=30, seed=7).values.tobytes() == first


@pytest.mark.parametrize("method", ["shap", "ig"])
def test_texts_of_no_or_one_token(make_model, method: str):
    model = make_model()
    empty, blank, single = explain_texts([model], ["", "  ", "wondi"], method=method)
    for none in (empty, blank):
        assert none.values.shape == (0, 3)
        np.testing.assert_array_equal(none.probs, none.base)
    assert blank.text == "  "
    np.testing.assert_allclose(single.values, [single.probs - single.base])


def test_hostile_texts_come_back_as_they_are(make_model):
    texts = ["\x00 wondi \x00", "[SEP] [MASK] wondi", "\u202e😀</script>", "wondi " * 80]
    for text, found in zip(
        texts, explain_texts([make_model()], texts, max_evals=20, max_length=16), strict=True
    ):
        assert found.text == text
        assert np.abs(found.gaps).max() < 1e-6
        assert np.isfinite(found.values).all()
    assert found.rest.count("wondi") == 80 - 14


def test_evaluations_are_counted_and_capped(make_model):
    models = [make_model(seed=1), make_model(seed=2)]
    counts: list[int] = []
    explain(models, max_evals=20, on_evals=counts.append)
    assert sum(counts) <= 2 * (20 + 2)
    counts.clear()
    explain(models, method="ig", max_evals=30, on_evals=counts.append)
    # Twice more for base and probability.
    assert sum(counts) == 2 * (30 + 2)


def test_default_evaluations():
    assert [count_evals("shap", n, None) for n in (1, 2, 5, 30)] == [300, 300, 200, 200]
    assert [count_evals("ig", n, None) for n in (1, 2, 4, 5, 30)] == [24, 24, 20, 16, 16]
    assert count_evals("shap", 5, 77) == 77


def test_the_weights_keep_their_gradients(make_model):
    model = make_model()
    explain([model], method="ig", max_evals=12)
    assert all(p.requires_grad and p.grad is None for p in model.classifier.parameters())


def test_numba_s_compiler_is_left_as_it_was():
    numba = pytest.importorskip("numba")
    attributions.import_shap()
    assert not numba.config.DISABLE_JIT


def test_errors_say_what_to_do(make_model, monkeypatch: pytest.MonkeyPatch):
    model = make_model()
    with pytest.raises(KitError, match="method 'lime' is unknown. Choose one of shap, ig"):
        explain([model], method="lime")
    with pytest.raises(KitError, match="max-evals 3: too few"):
        explain([model], max_evals=3)
    with pytest.raises(KitError, match="no model given"):
        explain([])
    other = SimpleNamespace(tokenizer=lambda text: {"input_ids": [1]}, classifier=model.classifier)
    with pytest.raises(KitError, match="different tokenizers"):
        explain([model, other])
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(KitError, match=r"pip install 'semeval-kit\[explain\]'"):
        explain([model], method="shap")
    assert explain([model], method="ig", max_evals=4).n_tokens > 0


def test_the_token_that_stands_for_a_masked_one_is_named(make_model):
    tokenizer = make_model("bert").tokenizer
    assert name_mask(tokenizer) == "[MASK]"
    names = {"mask_token_id": None, "unk_token_id": tokenizer.unk_token_id}
    maskless = SimpleNamespace(**names, convert_ids_to_tokens=tokenizer.convert_ids_to_tokens)
    assert name_mask(maskless) == "[UNK]"
