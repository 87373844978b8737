"""What a prediction file has to match."""

from __future__ import annotations

import pytest

from semeval_kit.data.reference import find_references, read_reference
from semeval_kit.errors import KitError


def test_gold_files_need_no_text(task, gold):
    reference = read_reference(task, gold / "eng.csv", "eng")
    assert reference.ids == ("eng_test_track_a_1", "eng_test_track_a_2", "eng_test_track_a_3")
    assert reference.labels == ("anger", "fear", "joy")
    assert reference.gold.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_labels_keep_the_order_of_the_header(task, tmp_path):
    path = tmp_path / "eng.csv"
    path.write_text("id,text,joy,anger,fear\n1,x,1,0,0\n")
    reference = read_reference(task, path, "eng")
    assert reference.labels == ("joy", "anger", "fear")
    assert reference.gold.tolist() == [[1, 0, 0]]


def test_blank_labels_give_ids_without_gold(task, tmp_path):
    path = tmp_path / "eng.csv"
    path.write_text("id,text,anger,fear,joy\n1,x,,,\n2,y,,,\n")
    reference = read_reference(task, path, "eng")
    assert reference.ids == ("1", "2")
    assert reference.gold is None


def test_only_the_languages_that_are_wanted_are_read(task, gold):
    (gold / "ron.csv").write_text("broken")
    assert list(find_references(task, gold, only={"deu"})) == ["deu"]
    with pytest.raises(KitError, match=r"ron\.csv"):
        find_references(task, gold)


@pytest.mark.parametrize("name", ["eng.csv", "test_gold_eng_a.csv", "track-a.eng.csv"])
def test_the_name_of_a_file_gives_its_language(task, gold, tmp_path, name):
    path = tmp_path / name
    path.write_text((gold / "eng.csv").read_text())
    assert list(find_references(task, path)) == ["eng"]


def test_what_cannot_serve_is_named(task, gold, tmp_path):
    unnamed = tmp_path / "gold.csv"
    unnamed.write_text((gold / "eng.csv").read_text())
    with pytest.raises(KitError, match="does not say which language it holds"):
        find_references(task, unnamed)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KitError, match="holds no file of a language of made-up"):
        find_references(task, tmp_path / "empty")
    with pytest.raises(KitError, match="no such file or folder"):
        find_references(task, tmp_path / "none")
    (gold / "eng.csv").write_text("id,anger,fear,joy\n1,0,0,0\n1,0,0,0\n2,0,0\n,1,0,0\n")
    with pytest.raises(KitError) as caught:
        find_references(task, gold / "eng.csv")
    assert [line.split(", ")[1].split(": ")[0] for line in str(caught.value).splitlines()] == [
        "line 3",
        "line 4",
        "line 5",
    ]
