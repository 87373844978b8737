"""The commands `card`, `export`, `push` and `paper`."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from semeval_kit.cli import main
from semeval_kit.run.directory import Run


def load(name: str):
    """A module of tests/analysis, which is no package."""
    path = Path(__file__).parents[1] / "show" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"analysis_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Run:
    made = load("conftest").lay_run(tmp_path_factory.mktemp("publish"))
    return load("test_card").lay_models(made)


def call(*args: object):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_card_is_written_and_named(published):
    result = call("card", published.path, "--license", "mit")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{published.card_file}\n"
    assert "\nlicense: mit\n" in published.card_file.read_text(encoding="utf-8")


def test_export_takes_a_fold_or_the_best(published, tmp_path):
    from semeval_kit.show.export import choose_best_fold

    for fold, expected in (("1", 1), ("best", choose_best_fold(published))):
        result = call("export", published.path, "--to", tmp_path / fold, "--fold", fold)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{tmp_path / fold}\n"
        card = (tmp_path / fold / "README.md").read_text(encoding="utf-8")
        assert f"holds the model of fold {expected}," in card


def test_export_of_a_fold_that_is_no_number(published, tmp_path):
    result = call("export", published.path, "--to", tmp_path / "x", "--fold", "first")
    assert result.exit_code == 2
    assert "'first' is neither a number nor 'best'" in result.stderr


def test_push_exports_and_uploads_once(published, monkeypatch):
    import semeval_kit.show.export as export

    sent = []

    def record(folder: Path, repo_id: str, *, private: bool = False, api=None) -> str:
        sent.append((sorted(p.name for p in folder.iterdir()), repo_id, private))
        return f"https://example.org/{repo_id}"

    monkeypatch.setattr(export, "push_model", record)
    result = call("push", published.path, "--repo-id", "team/model", "--private", "--fold", "0")
    assert result.exit_code == 0, result.output
    assert result.stdout == "https://example.org/team/model\n"
    assert "uploading 6 files" in result.stderr
    ((names, repo_id, private),) = sent
    assert names == [
        "README.md",
        "config.json",
        "model.safetensors",
        "thresholds.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert (repo_id, private) == ("team/model", True)


def test_push_takes_an_exported_folder_as_it_is(published, tmp_path, monkeypatch):
    import semeval_kit.show.export as export

    folder = export.export_model(published, tmp_path / "model", fold=0)
    sent = []
    monkeypatch.setattr(export, "push_model", lambda f, r, **_: sent.append(f) or "address")
    assert call("push", folder, "--repo-id", "team/model").stdout == "address\n"
    assert sent == [folder]


def test_push_without_a_token_is_an_error_with_a_remedy(published, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    result = call("push", published.path, "--repo-id", "team/model")
    assert result.exit_code == 1
    assert "Set the environment variable HF_TOKEN" in result.stderr


def test_push_offline_is_an_error_with_a_remedy(published, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = call("push", published.path, "--repo-id", "team/model")
    assert result.exit_code == 1
    assert "HF_HUB_OFFLINE is set" in result.stderr


def test_paper_names_its_files(published, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(published.path, copy)
    result = call("paper", copy)
    assert result.exit_code == 0, result.output
    names = ("paper.md", "paper.tex", "references.bib")
    assert result.stdout.splitlines() == [str(copy / "paper" / name) for name in names]


@pytest.mark.parametrize("command", ["card", "export", "push", "paper"])
def test_help_shows_an_example(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"Example:  semeval-kit {command} submissions/" in result.stdout
