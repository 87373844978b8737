"""Task files and their schema."""

from __future__ import annotations

import pytest

from semeval_kit.errors import KitError
from semeval_kit.task.task import list_tasks, load_task, read_task_source

SIX = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
ENGLISH = ("anger", "fear", "joy", "sadness", "surprise")


@pytest.mark.parametrize("name", list_tasks())
def test_every_task_file_loads_and_is_named_after_its_file(name):
    task = load_task(name)
    assert task.name == name
    assert set(task.scoring.languages) <= set(task.predict_languages)
    for baseline in task.baselines:
        assert baseline.source
        assert all(-1 <= value <= 1 for value in baseline.values.values())


def test_track_a_has_28_languages_with_label_sets_of_their_own():
    task = load_task("semeval2025-task11-a")
    assert len(task.train_languages) == len(task.predict_languages) == 28
    assert len(task.scoring.languages) == 28
    assert task.labels_for("eng") == ENGLISH
    assert task.labels_for("afr") == ("anger", "disgust", "fear", "joy", "sadness")
    assert task.labels_for("ron") == task.all_labels == SIX
    assert not task.cross_lingual


def test_track_b_is_intensity_over_11_languages_and_lacks_romanian_train():
    task = load_task("semeval2025-task11-b")
    assert task.kind == "intensity"
    assert task.max_value == 3
    assert len(task.scoring.languages) == 11
    assert set(task.predict_languages) - set(task.train_languages) == {"ron"}


def test_track_c_trains_on_track_a_and_predicts_32_languages():
    task = load_task("semeval2025-task11-c")
    assert task.cross_lingual
    assert task.train_languages == load_task("semeval2025-task11-a").train_languages
    new = set(task.predict_languages) - set(task.train_languages)
    assert new == {"ind", "jav", "xho", "zul"}
    assert len(task.scoring.languages) == 32
    assert all("track_a" in pattern or "track" not in pattern for pattern in task.data.files.train)
    assert task.seen_splits == ("train", "dev")


def test_codabench_2026_track_a_has_no_disgust_and_other_languages():
    task = load_task("codabench2026-task11-a")
    assert task.all_labels == ENGLISH
    assert len(task.scoring.languages) == 28
    assert not {"amh", "orm", "som", "tir"} & set(task.scoring.languages)
    assert {"ind", "jav", "xho", "zul"} <= set(task.scoring.languages)


def test_published_baselines_come_best_first():
    task = load_task("semeval2025-task11-a")
    found = task.baselines_for("eng", "macro_f1")
    assert [value for value, _ in found] == sorted((v for v, _ in found), reverse=True)
    by_system = {baseline.system: value for value, baseline in found}
    assert by_system["RemBERT"] == 0.7083
    assert by_system["XLM-R"] == 0.6730
    assert task.baselines_for("vmw", "macro_f1")[0][0] == 0.2113


def test_submission_names_give_language_and_folder():
    submission = load_task("semeval2025-task11-a").submission
    assert submission.member_for("eng") == "track_a/pred_eng.csv"
    assert submission.folder == "track_a"
    assert submission.name_pattern.fullmatch("pred_eng.csv")["lang"] == "eng"
    assert submission.name_pattern.fullmatch("predXeng.csv") is None


def test_an_unknown_task_is_named_with_the_nearest_one():
    with pytest.raises(KitError, match=r"'semeval2025-task11-x' is unknown \(did you mean"):
        load_task("semeval2025-task11-x")


def test_an_unknown_key_is_refused_with_file_key_and_the_nearest_one(write_task):
    with pytest.raises(KitError) as caught:
        write_task(("[data.files]", '[data]\ndelimitter = ","\n[data.files]'))
    assert "task.toml: unknown key 'data.delimitter' (did you mean 'delimiter'?)" in str(
        caught.value
    )


def test_a_missing_key_and_a_wrong_value_are_told_together(write_task):
    with pytest.raises(KitError) as caught:
        write_task(('kind = "multilabel"', 'kind = "multi"'), ('title = "A task for tests"', ""))
    assert "key 'title' is missing" in str(caught.value)
    assert "'kind' is 'multi'" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"train/{lang}.csv"', '"/train/{lang}.csv"', "relative path"),
        ('"train/{lang}.csv"', '"train/*.csv"', "without wildcards"),
        ('["dev/{lang}.csv"]', '["dev/all.csv"]', "all patterns need {lang}"),
        ('deu = ["anger", "joy"]', 'fra = ["anger"]', "'fra' is no language"),
        ('deu = ["anger", "joy"]', 'deu = ["anger", "anger"]', "unique"),
        ('"macro_f1", "micro_f1"', '"pearson_r"', "goes with kind 'intensity'"),
        (
            'rules = "2026"\nlanguages = ["eng", ',
            'rules = "2026"\nlanguages = ["fra", ',
            "not in predict_languages",
        ),
        ("[data.files]", "[data]\nheader = false\n[data.files]", "name the columns"),
        ("[data.files]", '[data]\nlabel_layout = "name"\n[data.files]', "does not fit kind"),
        ("[data.files]", "[data]\nsplit_from_right = true\n[data.files]", "needs data.quoted"),
    ],
)
def test_contradictions_in_a_task_file_are_named(write_task, old, new, words):
    with pytest.raises(KitError) as caught:
        write_task((old, new))
    assert words in str(caught.value)


def test_broken_toml_names_the_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")
    with pytest.raises(KitError, match=r"broken\.toml: not valid TOML: .*line 1"):
        load_task(path)


def test_languages_are_checked_with_a_hint(task):
    assert task.check_languages(["deu", "eng"]) == ("deu", "eng")
    with pytest.raises(KitError, match=r"'engl' is not in task made-up \(did you mean 'eng'\?\)"):
        task.check_languages(["engl"])


def test_the_source_of_a_packaged_task_is_its_text():
    place, text = read_task_source("semeval2025-task11-a")
    assert place == "tasks/semeval2025-task11-a.toml"
    assert text.startswith('name = "semeval2025-task11-a"')
