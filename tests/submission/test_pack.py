"""Writing predictions and packing them."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from semeval_kit.data.examples import read_file
from semeval_kit.errors import KitError
from semeval_kit.submission.pack import pack_submission, write_predictions
from semeval_kit.submission.validate import validate_contents


def examples_of(task, tmp_path, language, content):
    path = tmp_path / f"{language}_in.csv"
    path.write_text(content, encoding="utf-8")
    return read_file(task, path, language, "test")


ENGLISH = 'id,text,anger,fear,joy\n"e,1",x,,,\ne2,y,,,\n'


def test_predictions_have_the_organisers_header_order_and_integers(task, tmp_path):
    examples = examples_of(
        task, tmp_path, "eng", ENGLISH.replace("anger,fear,joy", "joy,anger,fear")
    )
    path = write_predictions(
        task, "eng", examples, [[1, 0, 0], [0.0, 1.0, 1.0]], tmp_path / "p.csv"
    )
    assert path.read_bytes() == b'id,joy,anger,fear\n"e,1",0,1,0\ne2,1,0,1\n'


def test_labels_that_a_language_lacks_are_not_written(task, tmp_path):
    examples = examples_of(task, tmp_path, "deu", "id,text,anger,joy\nd1,x,,\n")
    path = write_predictions(task, "deu", examples, [[1, 0, 0]], tmp_path / "p.csv")
    assert path.read_bytes() == b"id,anger,joy\nd1,1,0\n"


@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan")])
def test_what_is_no_integer_in_range_is_refused(task, tmp_path, value):
    examples = examples_of(task, tmp_path, "eng", ENGLISH)
    with pytest.raises(KitError, match="id e2: label 'fear' is .*; expected a whole number"):
        write_predictions(task, "eng", examples, [[0, 0, 0], [0, value, 0]], tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_a_wrong_shape_is_refused(task, tmp_path):
    examples = examples_of(task, tmp_path, "eng", ENGLISH)
    with pytest.raises(KitError, match=r"predictions have shape \(1, 3\)"):
        write_predictions(task, "eng", examples, [[0, 0, 0]], tmp_path / "p.csv")


@pytest.fixture
def english(task, gold, tmp_path):
    path = tmp_path / "eng_pred.csv"
    path.write_text((gold / "eng.csv").read_text())
    return path


def test_the_same_files_give_the_same_bytes(task, gold, english, tmp_path):
    german = tmp_path / "deu_pred.csv"
    german.write_text((gold / "deu.csv").read_text())
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    pack_submission(task, {"eng": english, "deu": german}, first, gold)
    pack_submission(task, {"deu": german, "eng": english}, second, gold)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == ["track_a/pred_deu.csv", "track_a/pred_eng.csv"]
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.external_attr >> 16 for info in infos} == {0o100644}
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


def test_an_invalid_submission_is_never_named(task, gold, english, tmp_path):
    english.write_text(english.read_text().replace(",1,0,0\n", ",1.0,0,0\n"))
    with pytest.raises(KitError) as caught:
        pack_submission(task, {"eng": english}, tmp_path / "a.zip", gold)
    assert "a.zip: not written." in str(caught.value)
    assert "label 'anger' is '1.0'" in str(caught.value)
    assert ".tmp" not in str(caught.value)
    assert not list(tmp_path.glob("*.zip")) + list(tmp_path.glob(".*"))


def test_an_older_zip_stays_when_the_new_one_is_invalid(task, gold, english, tmp_path):
    path = tmp_path / "a.zip"
    pack_submission(task, {"eng": english}, path, gold)
    before = path.read_bytes()
    english.write_text("")
    with pytest.raises(KitError, match="the file is empty"):
        pack_submission(task, {"eng": english}, path, gold)
    assert path.read_bytes() == before


def test_a_zip_is_validated_once_and_what_was_odd_is_told(
    task, gold, english, tmp_path, monkeypatch
):
    reads = []
    monkeypatch.setattr(
        "semeval_kit.submission.pack.validate_contents",
        lambda *args, **named: reads.append(args[1]) or validate_contents(*args, **named),
    )
    validation = pack_submission(task, {"eng": english}, tmp_path / "a.zip", gold)
    assert len(reads) == 1
    assert validation.infos == ["track_a/pred_eng.csv: 3 rows, labels anger, fear, joy"]
    assert validation.warnings == [
        "1 of 3 languages: the average counts the missing 2 as 0 (deu, ron)"
    ]


def test_nothing_to_pack_is_an_error(task, tmp_path):
    with pytest.raises(KitError, match="no prediction files to pack"):
        pack_submission(task, {}, tmp_path / "a.zip")


def test_rows_without_ids_and_joined_labels(write_task, tmp_path):
    task = write_task(
        ("[data.files]", '[data]\nid_column = ""\n[data.files]'),
        (
            'member = "track_a/pred_{lang}.csv"',
            'member = "predictions_{lang}.tsv"\ndelimiter = "\\t"\nquoted = false\nheader = false\n'
            'id_column = ""\nlabel_layout = "joined"\nlabel_joiner = "/"\nnone_word = "none"',
        ),
        ('rules = "2026"', 'rules = "generic"'),
    )
    examples = examples_of(task, tmp_path, "eng", "text,anger,fear,joy\nx,,,\ny,,,\nz,,,\n")
    preds = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    path = write_predictions(task, "eng", examples, preds, tmp_path / "p.tsv")
    assert path.read_bytes() == b"anger/joy\nnone\nfear\n"


def test_texts_are_echoed_as_they_were(write_task, tmp_path):
    task = write_task(
        (
            "[data.files]",
            '[data]\ndelimiter = "\\t"\nquoted = false\ntext_columns = ["a", "b"]\n[data.files]',
        ),
        (
            'member = "track_a/pred_{lang}.csv"',
            'member = "E_{lang}.txt"\ndelimiter = "\\t"\nquoted = false\ntext_columns = ["a", "b"]',
        ),
        ('rules = "2026"', 'rules = "generic"'),
    )
    content = 'id\ta\tb\tanger\tfear\tjoy\n1\t"q\tz, z\t\t\t\n'
    examples = examples_of(task, tmp_path, "eng", content)
    path = write_predictions(task, "eng", examples, np.array([[0, 0, 1]]), tmp_path / "p.txt")
    assert path.read_bytes() == b'id\ta\tb\tanger\tfear\tjoy\n1\t"q\tz, z\t0\t0\t1\n'


def test_a_single_label_must_be_single(write_task, tmp_path):
    task = write_task(
        ('kind = "multilabel"', 'kind = "singlelabel"'),
        ("[data.files]", '[data]\nlabel_layout = "name"\n[data.files]'),
        ("[submission]", '[submission]\nlabel_layout = "name"'),
        ('rules = "2026"', 'rules = "generic"'),
    )
    examples = examples_of(task, tmp_path, "eng", "id,text,label\n1,x,joy\n2,y,fear\n")
    path = write_predictions(task, "eng", examples, [[0, 0, 1], [1, 0, 0]], tmp_path / "p.csv")
    assert path.read_bytes() == b"id,label\n1,joy\n2,anger\n"
    with pytest.raises(KitError, match="id 2: exactly one label must be 1"):
        write_predictions(task, "eng", examples, [[0, 0, 1], [1, 1, 0]], tmp_path / "p.csv")
