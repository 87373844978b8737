"""Model card, export and push."""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import pytest

from semeval_kit.decision.estimate import choose_metric
from semeval_kit.decision.rule import Thresholds, decode_probs
from semeval_kit.errors import KitError
from semeval_kit.files import read_json
from semeval_kit.probs import Probs
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import present
from semeval_kit.show.answers import read_answers
from semeval_kit.show.card import config_entries, make_card, python_snippet, write_card
from semeval_kit.show.export import choose_best_fold, export_model, push_model
from semeval_kit.submission.metrics import METRICS

TEXT = "I never thought you would do this to me!"


def lay_models(run: Run, seed: int = 0) -> Run:
    """Give every fold a tiny BERT with random weights that are far from even."""
    torch = pytest.importorskip("torch")
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    names = run.read_oof().target_names
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        problem_type="single_label_classification"
        if run.task.kind == "singlelabel"
        else "multi_label_classification",
        initializer_range=1.0,
    )
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TEXT.lower().rstrip("!").split(), "!"]
    vocab = {word: i for i, word in enumerate(words)}
    tokenizer = BertTokenizerFast(tokenizer_object=BertWordPieceTokenizer(vocab)._tokenizer)
    for fold in range(run.n_folds):
        BertForSequenceClassification(config).save_pretrained(run.model_dir(fold))
        tokenizer.save_pretrained(run.model_dir(fold))
    return run


@pytest.fixture(scope="module")
def with_models(made_runs, tmp_path_factory):
    """Runs of each kind with models, in copies."""
    folder = tmp_path_factory.mktemp("models")
    runs = {}
    for seed, name in enumerate(("strong", "intensity", "single", "two-languages")):
        shutil.copytree(made_runs[name].path, folder / name)
        runs[name] = lay_models(Run.open(folder / name), seed)
    return runs


def test_metadata_block_is_what_the_hub_reads(made_runs):
    from huggingface_hub import ModelCard

    run = made_runs["strong"]
    card = ModelCard(make_card(run, licence="cc-by-4.0", n_resamples=20))
    data = card.data
    assert data.license == "cc-by-4.0"
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.pipeline_tag == "text-classification"
    assert data.language == ["eng"]
    assert data.model_name == "strong"
    values = {r.dataset_split: (r.metric_type, r.metric_value) for r in data.eval_results}
    expected = read_json(run.estimate_file)["cross_fitted"]["score"]
    assert values["train"] == ("f1", round(expected, 6))
    official = read_json(run.score_file)["scores"]["avg_macro_f1"]
    assert values["test"] == ("f1", pytest.approx(official, abs=1e-6))


def test_the_card_tells_data_metrics_thresholds_limits_and_licence(made_runs):
    card = make_card(made_runs["strong"], n_resamples=20)
    for heading in ("Use", "Results", "Thresholds", "Data", "Training", "Limits", "Licence"):
        assert f"\n## {heading}\n" in card
    thresholds = read_json(made_runs["strong"].thresholds_file)["values"]["eng"]
    assert f"| anger | {thresholds[0]:.3f} |" in card
    assert "**TODO: state the licence of the data**" in card
    assert "**TODO: choose the licence of this model**" in card
    assert "\nlicense:" not in card
    assert "@inproceedings{made2025task," in card


def test_the_card_holds_no_path_of_this_machine(make_run, tmp_path):
    run = make_run(tmp_path, encoder=str(tmp_path / "encoders" / "all-mpnet-base-v2"))
    card = write_card(run)
    assert run.card_file.read_text(encoding="utf-8") == card
    assert str(tmp_path) not in card
    assert "base_model" not in card
    assert "all-mpnet-base-v2 fine-tuned for" in card
    assert "**TODO: state the licence of the encoder**" in card
    assert card == write_card(run)


def test_without_the_extra_a_finished_run_says_that_there_is_no_report(made_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    told: list[str] = []
    present(made_run, told.append)
    assert told == [
        "no report: Model cards need huggingface_hub. Install it with: pip install "
        f"'semeval-kit[analysis]', then run `semeval-kit report {made_run.path}`"
    ]


def test_a_task_that_is_not_about_emotions_and_an_argmax(made_runs):
    card = make_card(made_runs["single"], n_resamples=0)
    assert "emotion" not in card.replace("label_column", "")
    assert "cross-fitted" not in card
    assert "name: accuracy (out of fold)\n" in card
    assert "- Labels are what the annotators of this data decided." in card


def test_languages_without_an_iso_code_are_mapped(made_runs, tmp_path):
    shutil.copytree(made_runs["strong"].path, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    from semeval_kit.show.card import _describe_model
    from semeval_kit.show.results import read_results

    run.settings["languages"] = ["ptbr", "ptmz", "chn", "eng"]
    data = _describe_model(run, read_results(run, [], n_resamples=0), "")
    assert data.language == ["pt", "zh", "eng"]


@pytest.mark.parametrize("name", ["strong", "intensity", "single", "two-languages"])
def test_pipeline_loads_the_folder_and_the_snippet_runs(with_models, tmp_path, name):
    run = with_models[name]
    folder = export_model(run, tmp_path / "model", fold=1)
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)
    shown: list[object] = []
    code = code.replace('folder = "."', f"folder = {str(folder)!r}")
    scope: dict[str, object] = {"print": shown.append}
    exec(code, scope)
    scores = scope["scores"]
    oof = run.read_oof()
    assert set(scores) == set(oof.target_names)
    thresholds = Thresholds.from_json(read_json(run.thresholds_file))
    probs = Probs(("x",), ("eng",), oof.target_names, _as_row(scores, oof.target_names))
    preds = decode_probs(run.task.kind, probs.values, thresholds, probs.languages)[0]
    named = dict(zip(run.task.all_labels, preds.tolist(), strict=True))
    if run.task.kind == "intensity":
        assert shown == [{label: level for label, level in named.items() if level}]
    elif run.task.kind == "singlelabel":
        assert named[shown[0]] == 1
    else:
        assert shown == [[label for label, value in named.items() if value]]


def test_both_ways_to_decide_intensities_have_a_snippet(with_models, tmp_path):
    from dataclasses import replace

    run = with_models["intensity"]
    stored = Thresholds.from_json(read_json(run.thresholds_file))
    for method in ("running_and", "expected_value"):
        rule = replace(stored, intensity=replace(stored.intensity, method=method))
        (key,) = config_entries(run, rule)
        assert key in python_snippet(run, rule)
        assert list(config_entries(run, rule)[key]) == ["eng", "joint"]
    code = python_snippet(
        run, replace(stored, intensity=replace(stored.intensity, method="running_and"))
    )
    answers = {name: 0.9 for name in stored.target_names}
    answers["anger>=2"] = 0.0
    shown: list[object] = []
    cuts = {"eng": {name: 0.5 for name in stored.target_names}}
    decide = code[code.index("thresholds = ") :].replace("config.thresholds", "cuts")
    exec(decide, {"scores": answers, "cuts": cuts, "print": shown.append})
    assert shown[0]["anger"] == 1
    assert shown[0]["fear"] == 3


def test_thresholds_survive_a_round_trip_through_transformers(with_models, tmp_path):
    from transformers import AutoConfig

    run = with_models["two-languages"]
    folder = export_model(run, tmp_path / "model", fold=0)
    AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / "again")
    kept = AutoConfig.from_pretrained(tmp_path / "again").thresholds
    stored = read_json(folder / "thresholds.json")
    assert stored == read_json(run.thresholds_file)
    assert list(kept["eng"].values()) == stored["values"]["eng"]
    assert "surprise" not in kept["afr"]
    assert list(kept["joint"].values()) == stored["joint"]


def test_export_copies_weights_and_no_pickle(with_models, tmp_path):
    run = with_models["strong"]
    (run.model_dir(2) / "pytorch_model.bin").write_bytes(b"danger")
    (run.model_dir(2) / "modeling.py").write_text("raise SystemExit", encoding="utf-8")
    (run.model_dir(2) / "MANIFEST.json").write_text("{}", encoding="utf-8")
    folder = export_model(run, tmp_path / "a" / "model", fold=2)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "README.md",
        "config.json",
        "model.safetensors",
        "thresholds.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    same = (run.model_dir(2) / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == same
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model"]
    assert "holds the model of fold 2, one of 3" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["intensity", "strong", "single"])
def test_the_best_fold_is_best_by_the_metric_of_the_task(made_runs, name):
    run = made_runs[name]
    answers, fold_of = read_answers(run, "oof"), run.read_folds()
    folds = np.array([fold_of[key] for key in answers.keys])
    metric = METRICS[choose_metric(run.task)]
    scores = [metric(answers.gold[folds == k], answers.tuned[folds == k]) for k in range(3)]
    assert choose_best_fold(run) == int(np.argmax(scores))


def test_export_refuses_a_folder_with_something_in_it(with_models, tmp_path):
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(KitError, match="exists and is not empty"):
        export_model(with_models["strong"], tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "keep"
    with pytest.raises(KitError, match="Choose a finished fold from 0 to 2"):
        export_model(with_models["strong"], tmp_path / "new", fold=7)
    assert not (tmp_path / "new").exists()


class FakeApi:
    """Records what would be sent to the hub."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.error = error

    def create_repo(self, repo_id: str, **given: object) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **given}))

    def upload_folder(self, **given: object) -> None:
        if self.error:
            raise self.error
        self.calls.append(("upload_folder", given))


@pytest.fixture
def exported(tmp_path):
    for name in ("config.json", "README.md"):
        (tmp_path / name).write_text(json.dumps({}), encoding="utf-8")
    return tmp_path


def test_push_uploads_the_folder(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token")
    api = FakeApi()
    address = push_model(exported, "team/model", private=True, api=api)
    assert address == "https://huggingface.co/team/model"
    assert api.calls == [
        (
            "create_repo",
            {"repo_id": "team/model", "repo_type": "model", "private": True, "exist_ok": True},
        ),
        (
            "upload_folder",
            {
                "repo_id": "team/model",
                "folder_path": str(exported),
                "repo_type": "model",
                "commit_message": "Upload model, thresholds and card",
            },
        ),
    ]


def test_push_without_a_token_says_where_it_comes_from(exported, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    api = FakeApi()
    with pytest.raises(KitError, match="Set the environment variable HF_TOKEN"):
        push_model(exported, "team/model", api=api)
    assert api.calls == []


def test_push_never_shows_the_token(exported, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    with pytest.raises(KitError, match=r"refused team/model: bad \[token\]") as caught:
        push_model(exported, "team/model", api=FakeApi(OSError("bad hf_very_secret")))
    assert "hf_very_secret" not in caught.value.message


@pytest.mark.parametrize("name", ["model", "team/", "../x/y", "team/mo del", "a/b/c"])
def test_push_checks_the_name(exported, name):
    with pytest.raises(KitError, match="expected OWNER/NAME"):
        push_model(exported, name, api=FakeApi())


def test_push_wants_an_exported_folder(tmp_path):
    with pytest.raises(KitError, match=r"no exported model \(config.json is missing\)"):
        push_model(tmp_path, "team/model", api=FakeApi())


def _as_row(scores, names):
    import numpy as np

    return np.array([[scores[name] for name in names]])


def test_the_card_of_a_run_shows_commands(made_run):
    card = make_card(made_run, n_resamples=0)
    assert "semeval-kit predict submissions/demo 'I never thought you would do this to me!'" in card
    assert "semeval-kit export submissions/demo --to demo-model" in card
