"""Reading data files: every rule of the bad-input catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from semeval_kit.data.examples import Examples, find_file, read_examples, read_file
from semeval_kit.errors import KitError
from semeval_kit.task.task import load_task

HEADER = "id,text,anger,fear,joy\n"
NAN = float("nan")


def read(tmp_path, task, content, language="eng", split="train", name=None, labelled=None):
    path = tmp_path / (name or f"{language}.csv")
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    return read_file(task, path, language, split, labelled=labelled)


def error_of(tmp_path, task, content, **options):
    with pytest.raises(KitError) as caught:
        read(tmp_path, task, content, **options)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_rows_become_examples(tmp_path, task):
    examples = read(tmp_path, task, HEADER + "e1,first,1,0,0\ne2,second,0,1,1\n")
    assert examples.ids == ("e1", "e2")
    assert examples.texts == ("first", "second")
    assert examples.languages == ("eng", "eng")
    assert examples.label_names == ("anger", "fear", "joy")
    assert examples.labels.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert examples.notes == ()


def test_texts_survive_byte_for_byte(tmp_path, task):
    texts = ["null", "NA", "  led by spaces", "a;b", 'say ""hi""', "=1+1", "<b>", "line\nbreak"]
    rows = "".join(f'e{i},"{text}",1,0,0\n' for i, text in enumerate(texts))
    expected = tuple(text.replace('""', '"') for text in texts)
    assert read(tmp_path, task, HEADER + rows).texts == expected


def test_a_language_without_a_label_has_nan_there(tmp_path, task):
    examples = read(tmp_path, task, "id,text,anger,joy\nd1,x,1,0\n", language="deu")
    np.testing.assert_array_equal(examples.labels, [[1, NAN, 0]])
    assert examples.label_order == {"deu": ("anger", "joy")}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("e1,x,4,0,0\n", "eng.csv, line 2: label 'anger' is '4'; expected 0 or 1. Correct"),
        ("e1,x,0.5,0,0\n", "line 2: label 'anger' is '0.5'; expected 0 or 1"),
        ("e1,x,True,0,0\n", "label 'anger' is 'True'"),
        ("e1,x,-1,0,0\n", "label 'anger' is '-1'"),
        ("e1,x,+1,0,0\n", "label 'anger' is '+1'"),
        ("e1,x,\uff11,0,0\n", "label 'anger' is '\uff11'"),
        ("e1,x,1,0,0\ne1,y,1,0,0\n", "line 3: id 'e1' is already on line 2"),
        (" ,x,1,0,0\n", "line 2: the id is empty"),
        ("e1,  ,1,0,0\n", "line 2: the text is empty"),
        ("e1,x, y,1,0,0\n", "line 2: 6 cells where 5 are expected (id,text,anger,fear,joy)"),
        ("e1,x,1,0\n", "line 2: 4 cells where 5 are expected"),
        ("e1,x,1,0,0\ne2,y,,0,0\n", "line 3: label 'anger' is blank; expected 0 or 1. Fill"),
        ('e1,"x\ny",1,0,0\ne2,z,1,0,7\n', "line 4: label 'joy' is '7'"),
        ("", "has no rows"),
    ],
)
def test_bad_rows_are_named_with_line_value_and_remedy(tmp_path, task, rows, message):
    assert message in error_of(tmp_path, task, HEADER + rows)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,text,anger,fear", "line 1: column 'joy' is missing"),
        ("id,text,anger,fear,Joy", "column 'joy' is missing (did you mean 'Joy'?)"),
        ("id,text,anger,fear,joy,sadness", "column 'sadness' is unknown"),
        ("id,text,anger,fear,joy,joy", "column 'joy' occurs twice"),
        ("ID,text,anger,fear,joy", "column 'id' is missing (did you mean 'ID'?)"),
    ],
)
def test_headers_must_be_the_organisers(tmp_path, task, header, message):
    rows = f"e1,x{',0' * (header.count(',') - 1)}\n"
    assert message in error_of(tmp_path, task, f"{header}\n{rows}")


def test_an_empty_file_is_called_empty(tmp_path, task):
    assert "eng.csv: the file is empty" in error_of(tmp_path, task, "")


def test_all_problems_of_a_file_come_in_one_error(tmp_path, task):
    rows = "".join(f"e{i},x,{i + 2},0,0\n" for i in range(25))
    lines = error_of(tmp_path, task, HEADER + rows).splitlines()
    assert len(lines) == 21
    assert lines[-1].endswith("and 5 more problems of this file")


def test_what_is_wrong_in_many_rows_is_told_once_with_their_lines(tmp_path, task):
    rows = "".join(f"e{i},x,NULL,{i % 2 * 7},0\n" for i in range(12))
    assert error_of(tmp_path, task, HEADER + rows).splitlines() == [
        "eng.csv, lines 2, 3, 4, 5, 6, ... (12 rows): label 'anger' is 'NULL'; expected 0 or 1. "
        "Correct the cell.",
        "eng.csv, lines 3, 5, 7, 9, 11, ... (6 rows): label 'fear' is '7'; expected 0 or 1. "
        "Correct the cell.",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id;text;anger;fear;joy\ne1;x;1;0;0\n",
            "eng.csv, line 1: the cells are separated by ';', but read with ','. "
            'Set data.delimiter = ";" in the task file.',
        ),
        (
            '{"id": "e1", "text": "x", "anger": 1}\n',
            "eng.csv, line 1: this looks like JSON, read as a table. "
            'Set data.format = "jsonl" or "json".',
        ),
        (
            HEADER + "e1,x,TRUE,0,0\n",
            "eng.csv, line 2: label 'anger' is 'TRUE'; expected 0 or 1. "
            'Map the words in the task file: values = { TRUE = "1", FALSE = "0" }.',
        ),
    ],
)
def test_a_file_that_is_read_the_wrong_way_is_told_in_one_sentence(
    tmp_path, task, content, message
):
    assert error_of(tmp_path, task, content) == message


def test_blank_cells_are_told_beside_other_problems(tmp_path, task):
    message = error_of(tmp_path, task, HEADER + "e1,x,,0,0\ne2,y,7,0,0\ne3,z,1,0,0\n")
    assert [line.split(";")[0] for line in message.splitlines()] == [
        "eng.csv, line 3: label 'anger' is '7'",
        "eng.csv, line 2: label 'anger' is blank",
    ]


def test_reordered_label_columns_are_read_by_name_and_told(tmp_path, task):
    examples = read(tmp_path, task, "id,text,joy,anger,fear\ne1,x,1,0,0\n")
    assert examples.labels.tolist() == [[0, 0, 1]]
    assert examples.label_order["eng"] == ("joy", "anger", "fear")
    assert "joy,anger,fear: accepted by name" in examples.notes[0]


def test_whole_floats_are_accepted_and_told(tmp_path, task):
    examples = read(tmp_path, task, HEADER + "e1,x,1.0,0,0\ne2,y,1.0,0.0,0\n")
    assert examples.labels.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert any("2 labels are spelled '1.0'" in note for note in examples.notes)


def test_byte_order_mark_and_crlf_are_accepted_and_told(tmp_path, task):
    content = (HEADER + "e1,x,1,0,0\n").replace("\n", "\r\n").encode("utf-8-sig")
    examples = read(tmp_path, task, content)
    assert examples.ids == ("e1",)
    assert ["BOM" in examples.notes[0], "CRLF" in examples.notes[1]] == [True, True]


def test_a_wholly_blank_label_column_is_not_annotated(tmp_path, task):
    examples = read(tmp_path, task, HEADER + "e1,x,1,,0\ne2,y,0,,1\n")
    np.testing.assert_array_equal(examples.labels, [[1, NAN, 0], [0, NAN, 1]])
    assert "blank label columns, read as not annotated: fear" in examples.notes[0]


def test_a_blank_column_of_a_label_that_the_language_lacks_is_dropped(tmp_path, task):
    header = "id,text,anger,fear,joy\n"
    examples = read(tmp_path, task, header + "d1,x,1,,0\n", language="deu")
    np.testing.assert_array_equal(examples.labels, [[1, NAN, 0]])
    message = error_of(tmp_path, task, header + "d1,x,1,1,0\n", language="deu")
    assert "label 'fear' has value '1', but language 'deu' has no such label" in message


def test_a_train_file_without_any_label_is_refused(tmp_path, task):
    message = error_of(tmp_path, task, HEADER + "e1,x,,,\n")
    assert "labels are blank in every row" in message


def test_test_labels_may_be_blank_missing_or_there(tmp_path, task):
    blank = read(tmp_path, task, HEADER + "e1,x,,,\n", split="test")
    assert np.isnan(blank.labels).all()
    missing = read(tmp_path, task, "id,text\ne1,x\n", split="test")
    assert np.isnan(missing.labels).all()
    assert missing.label_order["eng"] == ("anger", "fear", "joy")
    there = read(tmp_path, task, HEADER + "e1,x,1,0,0\n", split="test")
    assert there.labels.tolist() == [[1, 0, 0]]
    left_out = read(tmp_path, task, HEADER + "e1,x,1,0,0\n", split="test", labelled=False)
    assert np.isnan(left_out.labels).all()
    message = error_of(tmp_path, task, HEADER + "e1,x,1,0,0\ne2,y,,,\n", split="test")
    assert "line 3: label 'anger' is blank" in message


def test_empty_test_texts_are_kept_and_told(tmp_path, task):
    examples = read(tmp_path, task, HEADER + "e1,,,,\n", split="test")
    assert examples.texts == ("",)
    assert any("1 test row has an empty text" in note for note in examples.notes)


def test_a_train_file_with_test_in_its_name_is_refused(tmp_path, task):
    message = error_of(tmp_path, task, HEADER + "e1,x,1,0,0\n", name="eng_track1_test.csv")
    assert "eng_track1_test.csv: a training file with 'test' in its name is refused" in message


def test_duplicates_and_conflicts_are_told_with_counts_and_ids(tmp_path, task):
    rows = "e1,Same text,1,0,0\ne2,same  TEXT,1,0,0\ne3,other,0,0,1\ne4,other,0,1,0\n"
    notes = read(tmp_path, task, HEADER + rows).notes
    assert "2 duplicate texts (first: e1, e2)" in notes[0]
    assert "1 text occurs with conflicting labels (first: e3, e4)" in notes[1]


def test_files_are_found_by_pattern_in_order_and_never_by_search(tmp_path, task):
    for folder in ("train", "track_a/train"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "track_a/train/eng_track1_test.csv").write_text("stray")
    assert find_file(task, tmp_path, "train", "eng") is None
    (tmp_path / "train/eng.csv").write_text(HEADER)
    assert find_file(task, tmp_path, "train", "eng") == tmp_path / "train/eng.csv"
    (tmp_path / "track_a/train/eng.csv").write_text(HEADER)
    assert find_file(task, tmp_path, "train", "eng") == tmp_path / "track_a/train/eng.csv"


def test_several_languages_follow_one_another(tmp_path, task):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/eng.csv").write_text(HEADER + "e1,x,1,0,0\n")
    (tmp_path / "train/deu.csv").write_text("id,text,anger,joy\nd1,y,0,1\n")
    examples = read_examples(task, tmp_path, "train", ["deu", "eng"])
    assert examples.languages == ("deu", "eng")
    np.testing.assert_array_equal(examples.labels, [[0, NAN, 1], [1, 0, 0]])
    with pytest.raises(KitError, match=r"no dev file for language 'eng' of made-up \(tried dev/"):
        read_examples(task, tmp_path, "dev", ["eng"])


def test_take_and_concat(tmp_path, task):
    examples = read(tmp_path, task, HEADER + "e1,x,1,0,0\ne2,y,0,1,1\ne3,z,0,0,0\n")
    assert examples.take([2, 0]).ids == ("e3", "e1")
    assert examples.take(np.array([False, True, False])).texts == ("y",)
    both = Examples.concat([examples.take([0]), examples.take([1, 2])])
    assert both.ids == examples.ids
    np.testing.assert_array_equal(both.labels, examples.labels)


def test_intensities_can_be_read_as_binary(tmp_path, write_task):
    task = write_task(("[data.files]", "[data]\nbinarize = true\nmax_value = 3\n[data.files]"))
    examples = read(tmp_path, task, HEADER + "e1,x,3,0,1\n")
    assert examples.labels.tolist() == [[1, 0, 1]]
    assert "expected a whole number from 0 to 3" in error_of(
        tmp_path, task, HEADER + "e1,x,4,0,0\n"
    )


def test_joined_names_without_header_or_ids(tmp_path, write_task):
    task = write_task(
        ('"eng", "deu"]', '"eng"]'),
        ('"eng", "deu", "ron"]', '"eng"]'),
        ('[labels.by_language]\ndeu = ["anger", "joy"]', ""),
        (
            "[data.files]",
            '[data]\ndelimiter = "\\t"\nquoted = false\nheader = false\ncolumns = ["text", "emo"]\n'
            'id_column = ""\nlabel_layout = "joined"\nlabel_column = "emo"\n'
            'aliases = { Rage = "anger" }\nnone_word = "none"\n[data.files]',
        ),
        ('member = "track_a/pred_{lang}.csv"', 'id_column = ""\nlabel_layout = "joined"'),
        ('rules = "2026"', ""),
    )
    content = 'a "quoted\tRage/joy\nb\tnone\nc\tfear\n'
    examples = read(tmp_path, task, content)
    assert examples.ids == ("eng_train_00001", "eng_train_00002", "eng_train_00003")
    assert examples.texts == ('a "quoted', "b", "c")
    assert examples.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    message = error_of(tmp_path, task, "x\tjoy/feer\n")
    assert "line 1: label 'feer' is unknown (did you mean 'fear'?)" in message


def test_single_labels_of_text_and_emotion_files_are_one_hot(tmp_path, write_task):
    task = write_task(
        ('kind = "multilabel"', 'kind = "singlelabel"'),
        (
            "[data.files]",
            '[data]\ndelimiter = ";"\nquoted = false\nsplit_from_right = true\nheader = false\n'
            'columns = ["text", "label"]\nid_column = ""\nlabel_layout = "name"\n[data.files]',
        ),
        ("[submission]", '[submission]\nid_column = ""\nlabel_layout = "name"'),
        ('rules = "2026"', 'rules = "generic"'),
    )
    examples = read(tmp_path, task, "well; yes;joy\n\nno;anger\n")
    assert examples.texts == ("well; yes", "no")
    assert examples.labels.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert "1 blank line skipped" in examples.notes[0]
    assert "label 'love' is unknown" in error_of(tmp_path, task, "hm;love\n")


def test_text_columns_are_joined_and_kept_for_echoing(tmp_path, write_task):
    task = write_task(
        ("[data.files]", '[data]\ntext_columns = ["a", "b"]\ntext_joiner = " | "\n[data.files]'),
        ("[submission]", '[submission]\ntext_columns = ["a", "b"]'),
    )
    examples = read(tmp_path, task, "id,a,b,anger,fear,joy\ne1,x,y,1,0,0\n")
    assert examples.texts == ("x | y",)
    assert examples.cells == (("x", "y"),)


def test_ignored_columns_and_blank_words(tmp_path, write_task):
    task = write_task(
        (
            "[data.files]",
            '[data]\nignored_columns = ["canary"]\nblank_words = ["NONE"]\n[data.files]',
        )
    )
    content = "id,canary,text,anger,fear,joy\ne1,c,x,NONE,NONE,NONE\n"
    assert np.isnan(read(tmp_path, task, content, split="test").labels).all()


@pytest.mark.parametrize(
    ("name", "split", "rows"),
    [
        ("semeval2025-task11-a", "train", 65_094),
        ("semeval2025-task11-a", "dev", 8_505),
        ("semeval2025-task11-a", "test", 41_553),
        ("semeval2025-task11-b", "train", 23_511),
        ("semeval2025-task11-b", "test", 19_691),
        ("semeval2025-task11-c", "dev", 10_370),
        ("semeval2025-task11-c", "test", 46_884),
    ],
)
def test_official_files_are_read_whole(official_data, name, split, rows):
    task = load_task(name)
    languages = task.train_languages if split == "train" else task.predict_languages
    assert len(read_examples(task, official_data, split, languages)) == rows


def test_official_english_counts_and_notes(official_data):
    task = load_task("semeval2025-task11-a")
    examples = read_examples(task, official_data / "track_a", "train", ["eng"])
    positives = dict(zip(task.all_labels, np.nansum(examples.labels, axis=0), strict=True))
    assert positives == {
        "anger": 333,
        "disgust": 0,
        "fear": 1610,
        "joy": 674,
        "sadness": 876,
        "surprise": 839,
    }
    assert int((np.nansum(examples.labels, axis=1) == 0).sum()) == 237
    assert any("conflicting labels" in note for note in examples.notes)
