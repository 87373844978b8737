"""What a task file can say about inputs, groups, targets and the form of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from semeval_kit.data.examples import Examples, read_examples, read_split
from semeval_kit.data.reference import read_reference
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError
from semeval_kit.task.task import Task, load_task

NAN = float("nan")
TOP = """
name = "shapes"
title = "Shapes"
train_languages = ["eng"]
predict_languages = ["eng"]
"""
END = """
[data.files]
train = ["train.tsv"]
dev = ["dev.tsv"]
test = ["test.tsv"]
[submission]
label_layout = "{layout}"
[scoring]
metrics = ["{metric}"]
languages = ["eng"]
"""
REGRESSION = 'kind = "regression"\nrange = [1, 5]\nlabels.default = ["score"]\n'
SINGLE = 'kind = "singlelabel"\nlabels.default = ["yes", "no"]\n'
STEREO = """
[data]
delimiter = "\\t"
text_columns = ["comment"]
context = "{title} | {description}"
group_column = "title"
[targets.stereotype]
kind = "singlelabel"
labels = ["yes", "no"]
[targets.hate]
kind = "singlelabel"
labels = ["no", "implicit", "explicit"]
values = { yes_implicit = "implicit", yes_explicit = "explicit" }
weight = 2.0
[targets.target]
kind = "multilabel"
labels = ["group", "individual", "l", "t", "nb", "lgbtqia+"]
layout = "scoped"
scopes = ["group", "individual"]
joiner = ","
none_word = "none"
blank_words = ["NULL"]
"""


def make_task(
    folder: Path, top: str, data: str, metric: str = "spearman", layout: str = "columns"
) -> Task:
    path = folder / "task.toml"
    path.write_text(TOP + top + data + END.format(metric=metric, layout=layout))
    return load_task(path)


def read(folder: Path, task: Task, content: str, split: str = "train", **given: bool) -> Examples:
    (folder / f"{split}.tsv").write_text(content)
    return read_split(task, folder, split, "eng", **given)


def error_of(folder: Path, task: Task, content: str, split: str = "train") -> str:
    with pytest.raises(KitError) as refused:
        read(folder, task, content, split)
    return refused.value.message.replace(f"{folder}/", "")


class TestInputs:
    def test_templates_make_text_pair_and_context(self, tmp_path: Path) -> None:
        data = '[data]\ntext = "{a}: {b}"\npair = "c"\ncontext = "({d})"\n'
        task = make_task(tmp_path, REGRESSION, data)
        rows = read(tmp_path, task, "id,a,b,c,d,score\n1,x,y,z,w,2\n2,x,,z,,3\n")
        assert rows.texts == ("x: y", "x: ")
        assert rows.pairs == ("z", "z")
        assert rows.contexts == ("(w)", "()")
        assert rows.take([1]).pairs == ("z",)
        both = Examples.concat([rows, rows])
        assert (len(both.pairs), len(both.contexts)) == (4, 4)
        assert "column 'd' is missing" in error_of(tmp_path, task, "id,a,b,c,score\n1,x,y,z,2\n")

    def test_one_cell_is_cut_into_two_texts(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, '[data]\npair_separator = "\\n"\n')
        rows = read(tmp_path, task, 'id,text,score\n1,"one\ntwo",2\n')
        assert (rows.texts, rows.pairs) == (("one",), ("two",))
        assert error_of(tmp_path, task, "id,text,score\n1,one two,2\n2,x,1\n") == (
            "train.tsv, lines 2, 3: the text has no '\\n' that separates two texts. Correct the "
            "row, or data.pair_separator."
        )

    def test_quoted_cells_of_a_tsv_may_hold_newlines(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, '[data]\ndelimiter = "\\t"\n')
        rows = read(tmp_path, task, 'id\ttext\tscore\n1\t"one\n\ttwo"\t2\n2\tx\t1\n')
        assert rows.texts == ("one\n\ttwo", "x")

    def test_columns_that_nobody_names_may_be_passed_over(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, '[data]\nignored_columns = ["*"]\n')
        assert len(read(tmp_path, task, "id,text,score,a,b\n1,x,2,3,4\n")) == 1

    def test_the_frame_has_a_column_for_everything(self, tmp_path: Path) -> None:
        data = '[data]\npair = "c"\ngroup_column = "g"\n'
        task = make_task(tmp_path, REGRESSION, data)
        frame = read(tmp_path, task, "id,text,c,g,score\n1,x,y,z,2.5\n").to_frame()
        assert frame.to_dict("records") == [
            {"id": "1", "language": "eng", "text": "x", "pair": "y", "group": "z", "score": 2.5}
        ]


class TestForms:
    ROWS = ({"id": "7", "text": "x", "score": 2.0}, {"id": "8", "text": "y", "score": 5})

    def forms(self, folder: Path) -> dict[str, bytes]:
        return {
            "list.json": json.dumps(self.ROWS).encode(),
            "by-id.json": json.dumps(
                {row["id"]: {"text": row["text"], "score": row["score"]} for row in self.ROWS}
            ).encode(),
            "lines.jsonl": "".join(json.dumps(row) + "\n" for row in self.ROWS).encode(),
            "latin.csv": "id,text,score\n7,x,2.0\n8,y,5\n".encode("latin-1"),
        }

    @pytest.mark.parametrize("name", ["list.json", "by-id.json", "lines.jsonl", "data.parquet"])
    def test_each_gives_the_same_rows(self, tmp_path: Path, name: str) -> None:
        if name == "data.parquet":
            pyarrow = pytest.importorskip("pyarrow")
            from pyarrow import parquet

            parquet.write_table(pyarrow.Table.from_pylist(list(self.ROWS)), tmp_path / name)
        else:
            (tmp_path / name).write_bytes(self.forms(tmp_path)[name])
        task = make_task(tmp_path, REGRESSION, "")
        files = task.data.files.model_copy(update={"train": (name,)})
        task = task.model_copy(update={"data": task.data.model_copy(update={"files": files})})
        rows = read_split(task, tmp_path, "train", "eng")
        assert (rows.ids, rows.texts, rows.labels.tolist()) == (("7", "8"), ("x", "y"), [[2], [5]])

    def test_a_broken_line_is_named(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, '[data]\nformat = "jsonl"\n')
        message = error_of(tmp_path, task, '{"id": "1"\n{"id": "2"}\n')
        assert message.startswith("train.tsv, line 1: is no JSON (")
        listed = error_of(tmp_path, task, "[1]\n")
        assert listed == "train.tsv, line 1: is no object of columns. Check data.format."

    def test_rows_of_a_list_are_counted_as_rows(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, '[data]\nformat = "json"\n')
        row = '{"id": "1", "text": "x", "score": 9}'
        assert error_of(tmp_path, task, f"[{row}, {row}]") == (
            "train.tsv, row 2: id '1' is already on row 1. Remove one of the rows.\n"
            "train.tsv, rows 1, 2: label 'score' lies outside the range 1 to 5 (least 9, largest "
            "9). Correct the cells, or if they are right set range = [1, 9] in the task file."
        )

    def test_a_file_may_be_spelled_unlike_the_others(self, tmp_path: Path) -> None:
        data = (
            '[data.spelling."dev.tsv"]\ndelimiter = ";"\nencoding = "latin-1"\n'
            'header = false\ncolumns = ["id", "text", "score"]\n'
        )
        task = make_task(tmp_path, REGRESSION, data)
        assert read(tmp_path, task, "id,text,score\n1,x,2\n").texts == ("x",)
        (tmp_path / "dev.tsv").write_bytes("1;ü;2\n".encode("latin-1"))
        assert read_split(task, tmp_path, "dev", "eng").texts == ("ü",)

    def test_split_and_language_may_stand_in_columns(self, tmp_path: Path) -> None:
        text = (TOP + SINGLE + END.format(metric="macro_f1", layout="name")).replace(
            '["eng"]', '["eng", "deu"]'
        )
        for split in ("train", "dev", "test"):
            text = text.replace(f"{split}.tsv", "all.csv")
        text = text.replace(
            "[data.files]",
            '[data]\nlabel_layout = "name"\nsplit_column = "part"\nlanguage_column = "lang"\n'
            'split_values = { val = "dev" }\n'
            'language_values = { English = "eng", German = "deu" }\n[data.files]',
        )
        (tmp_path / "task.toml").write_text(text)
        task = load_task(tmp_path / "task.toml")
        (tmp_path / "all.csv").write_text(
            "id,text,label,part,lang\n1,a,yes,train,English\n2,b,no,val,English\n"
            "3,c,no,train,German\n4,d,yes,train,English\n"
        )
        train = read_examples(task, tmp_path, "train", ["eng", "deu"])
        assert (train.ids, train.languages) == (("1", "4", "3"), ("eng", "eng", "deu"))
        assert read_examples(task, tmp_path, "dev", ["eng"]).ids == ("2",)
        with pytest.raises(KitError, match="has no rows of split 'dev' and language 'deu'"):
            read_examples(task, tmp_path, "dev", ["deu"])
        (tmp_path / "all.csv").write_text("id,text,label,part,lang\n1,a,yes,trial,English\n")
        with pytest.raises(KitError, match=r"split is 'trial'; expected train, dev, test\. Map"):
            read_examples(task, tmp_path, "train", ["eng"])

    def test_several_files_of_a_split_follow_one_another(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, "[data]\ncombine_files = true\n")
        files = task.data.files.model_copy(update={"train": ("train.tsv", "more.tsv")})
        task = task.model_copy(update={"data": task.data.model_copy(update={"files": files})})
        (tmp_path / "more.tsv").write_text("id,text,score\n2,y,3\n")
        assert read(tmp_path, task, "id,text,score\n1,x,2\n").ids == ("1", "2")
        with pytest.raises(KitError, match=r"more\.tsv: id '2' is in another file"):
            read(tmp_path, task, "id,text,score\n2,x,2\n")

    def test_labels_may_lie_apart(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, "")
        files = task.data.files.model_copy(update={"train_labels": ("labels.csv",)})
        task = task.model_copy(update={"data": task.data.model_copy(update={"files": files})})
        (tmp_path / "labels.csv").write_text("id,score\n2,4\n1,3\n")
        rows = read(tmp_path, task, "id,text\n1,x\n2,y\n")
        assert rows.labels.tolist() == [[3], [4]]
        with pytest.raises(KitError, match=r"labels\.csv: 1 id has no labels \(first: 3\)"):
            read(tmp_path, task, "id,text\n1,x\n3,y\n")


class TestGroups:
    def test_a_column_or_a_pattern_on_the_id_is_the_key(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, '[data]\ngroup_column = "film"\n')
        rows = read(tmp_path, task, "id,text,film,score\n1,x,A,2\n2,y,B,2\n3,z,A,2\n")
        assert rows.groups == ("A", "B", "A")
        assert number_groups(rows).tolist() == [0, 1, 0]
        assert "the group 'film' is empty" in error_of(
            tmp_path, task, "id,text,film,score\n1,x,,2\n"
        )
        task = make_task(tmp_path, REGRESSION, "[data]\ngroup_pattern = '^(.+)__'\n")
        assert read(tmp_path, task, "id,text,score\na__1,x,2\nb__1,y,2\n").groups == ("a", "b")
        assert error_of(tmp_path, task, "id,text,score\nc,x,2\n") == (
            "train.tsv, line 2: id 'c' does not match data.group_pattern. Correct one."
        )


class TestTargets:
    def test_numbers_are_read_within_their_range(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, "")
        rows = read(tmp_path, task, "id,text,score\n1,x,1.25\n2,y,5\n3,z,1e0\n")
        assert rows.labels.tolist() == [[1.25], [5], [1]]
        assert error_of(tmp_path, task, 'id,text,score\n1,x,5.01\n2,y,"3,5"\n3,z,nan\n') == (
            "train.tsv, line 3: label 'score' is '3,5'; expected a number from 1 to 5. Write "
            "numbers with a point.\n"
            "train.tsv, line 4: label 'score' is 'nan'; expected a number from 1 to 5. Correct "
            "the cell.\n"
            "train.tsv, line 2: label 'score' lies outside the range 1 to 5 (least 5.01, largest "
            "5.01). Correct the cells, or if they are right set range = [1, 5.01] in the task file."
        )

    def test_numbers_outside_the_range_are_told_once_with_the_range_that_holds_them(
        self, tmp_path: Path
    ) -> None:
        task = make_task(tmp_path, REGRESSION, "")
        rows = "".join(f"{i},t{i},{(0.5, 3, 6)[i % 3]}\n" for i in range(9))
        assert error_of(tmp_path, task, f"id,text,score\n{rows}") == (
            "train.tsv, lines 2, 4, 5, 7, 8, ... (6 rows): label 'score' lies outside the range "
            "1 to 5 (least 0.5, largest 6). Correct the cells, or if they are right set range = "
            "[0.5, 6] in the task file."
        )

    def test_what_may_stand_for_no_number_is_told(self, tmp_path: Path) -> None:
        content = "id,text,score\n1,x,(???)\n"
        assert error_of(tmp_path, make_task(tmp_path, REGRESSION, ""), content) == (
            "train.tsv, line 2: label 'score' is '(???)'; expected a number from 1 to 5. If it "
            "stands for no label, say so: blank_words = ['(???)']."
        )

    def test_shares_sum_to_one(self, tmp_path: Path) -> None:
        top = 'kind = "distribution"\nlabels.default = ["a", "b"]\n'
        task = make_task(tmp_path, top, "", metric="jensen_shannon")
        rows = read(tmp_path, task, "id,text,a,b\n1,x,0.25,0.75\n")
        assert rows.labels.tolist() == [[0.25, 0.75]]
        assert error_of(tmp_path, task, "id,text,a,b\n1,x,0.25,0.5\n") == (
            "train.tsv, line 2: the shares of 'main' sum to 0.75, not 1. Correct them."
        )

    def test_values_are_mapped_and_rows_left_out(self, tmp_path: Path) -> None:
        data = (
            '[data]\nlabel_layout = "name"\nvalues = { awe = "yes", fear = "no" }\n'
            'drop = ["other"]\n'
        )
        task = make_task(tmp_path, SINGLE, data, "macro_f1", "name")
        rows = read(tmp_path, task, "id,text,label\n1,x,awe\n2,y,other\n3,z,no\n")
        assert (rows.ids, rows.labels.tolist()) == (("1", "3"), [[1, 0], [0, 1]])
        assert any("1 row with label 'other' is left out" in note for note in rows.notes)
        message = error_of(
            tmp_path, task, "id,text,label\n" + "".join(f"{i},x,NULL\n" for i in "abc")
        )
        assert message == (
            "train.tsv, lines 2, 3, 4: label 'NULL' is unknown; expected one of yes, no. Correct "
            "it, or map it in the task file under data.values, drop or blank_words."
        )

    def test_truth_words_can_be_mapped_in_columns(self, tmp_path: Path) -> None:
        top = 'kind = "multilabel"\nlabels.default = ["joy"]\n'
        data = '[data]\nvalues = { TRUE = "1", FALSE = "0" }\n'
        task = make_task(tmp_path, top, data, "macro_f1")
        rows = read(tmp_path, task, "id,text,joy\n1,x,TRUE\n2,y,FALSE\n3,z,1\n")
        assert rows.labels.tolist() == [[1], [0], [1]]

    def test_several_targets_of_a_row_are_columns_side_by_side(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, "", STEREO, "macro_f1", "name")
        assert [target.name for target in task.targets] == ["stereotype", "hate", "target"]
        assert task.label_slices == {
            "stereotype": slice(0, 2),
            "hate": slice(2, 5),
            "target": slice(5, 11),
        }
        rows = read(
            tmp_path,
            task,
            "id\ttitle\tdescription\tcomment\tstereotype\thate\ttarget\n"
            "1\tT\tD\tc\tyes\tyes_implicit\tindividual_t,nb\n"
            "2\tT\tD\td\tno\tno\tnone\n"
            "3\tT\tD\te\t\texplicit\tNULL\n",
        )
        assert rows.contexts[0] == "T | D"
        assert rows.label_names[:3] == ("stereotype:yes", "stereotype:no", "hate:no")
        np.testing.assert_array_equal(
            rows.labels,
            [
                [1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0],
                [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
                [NAN, NAN, 0, 0, 1, *[NAN] * 6],
            ],
        )
        assert any("1 row is not annotated for 'stereotype'" in note for note in rows.notes)
        reference = read_reference(task, tmp_path / "train.tsv", "eng")
        assert reference.gold is not None
        np.testing.assert_array_equal(reference.gold, rows.labels)
        assert reference.groups == ("T", "T", "T")

    def test_an_auxiliary_target_comes_from_a_file_of_its_own(self, tmp_path: Path) -> None:
        data = (
            '[targets.intensity]\nkind = "intensity"\nauxiliary = true\nfile = "b.csv"\n'
            "max_intensity = 3\n"
        )
        top = 'kind = "multilabel"\nlabels.default = ["fear", "joy"]\n'
        task = make_task(tmp_path, top, data, "macro_f1")
        assert task.label_names == ("fear", "joy", "intensity:fear", "intensity:joy")
        content = "id,text,fear,joy\n1,x,1,0\n2,y,0,1\n3,z,0,0\n"
        absent = read(tmp_path, task, content)
        assert np.isnan(absent.labels[:, 2:]).all()
        assert any("no file for the auxiliary target" in note for note in absent.notes)
        (tmp_path / "b.csv").write_text("id,text,joy\n2,why,3\nother,z,1\n")
        rows = read(tmp_path, task, content)
        np.testing.assert_array_equal(
            rows.labels, [[1, 0, NAN, NAN], [0, 1, NAN, 3], [0, 0, NAN, 1]]
        )
        assert any("2 of 3 rows have the target 'intensity'" in note for note in rows.notes)
        # The file of the texts has none of them, which says nothing.
        assert not any("not annotated" in note for note in rows.notes)

    def test_scoring_keeps_the_columns_that_it_needs(self, tmp_path: Path) -> None:
        task = make_task(tmp_path, REGRESSION, "", "spearman")
        scoring = task.scoring.model_copy(update={"spread_column": "sd"})
        task = task.model_copy(update={"scoring": scoring})
        rows = read(tmp_path, task, "id,text,score,sd\n1,x,2,0.5\n2,y,3,1.5\n")
        assert rows.kept == {"sd": ("0.5", "1.5")}
        assert rows.take([1]).kept == {"sd": ("1.5",)}
        reference = read_reference(task, tmp_path / "train.tsv", "eng")
        assert reference.kept == {"sd": ("0.5", "1.5")}
        assert reference.gold is not None
        assert reference.gold.dtype == np.float64
