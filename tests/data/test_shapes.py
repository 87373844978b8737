"""The task files of other shapes read files in their organisers' layouts, here made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semeval_kit.data.examples import read_examples
from semeval_kit.data.reference import read_reference
from semeval_kit.data.survey import check_tasks
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError
from semeval_kit.task.task import load_task

NAN = float("nan")


def put(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


class TestOffence:
    TRAIN = (
        "id\ttweet\tsubtask_a\tsubtask_b\tsubtask_c\n"
        '1\t"so it says\tNOT\tNULL\tNULL\n2\tyou fool\tOFF\tTIN\tIND\n3\tdamn\tOFF\tUNT\tNULL\n'
    )

    @pytest.mark.parametrize(
        ("level", "ids", "labels"),
        [("a", ("1", "2", "3"), [[0, 1], [1, 0], [1, 0]]), ("b", ("2", "3"), [[1, 0], [0, 1]])],
    )
    def test_rows_of_another_level_are_left_out(
        self, tmp_path: Path, level: str, ids: tuple[str, ...], labels: list[list[int]]
    ) -> None:
        task = load_task(f"semeval2019-task6-{level}")
        put(tmp_path, "olid-training-v1.0.tsv", self.TRAIN)
        rows = read_examples(task, tmp_path, "train", ["eng"])
        assert (rows.ids, rows.labels.tolist()) == (ids, labels)
        put(tmp_path, f"testset-level{level}.tsv", "id\ttweet\n7\thm\n8\toh\n")
        assert read_examples(task, tmp_path, "test", ["eng"]).texts == ("hm", "oh")
        first, second = task.all_labels
        gold = put(tmp_path, f"labels-level{level}.csv", f"7,{second}\n8,{first}\n")
        reference = read_reference(task, gold, "eng")
        assert reference.ids == ("7", "8")
        assert reference.gold is not None
        assert reference.gold.tolist() == [[0, 1], [1, 0]]


class TestSexism:
    ROWS = (
        "\ufeffrewire_id,text,label_sexist,label_category,label_vector,split\n"
        "s1,one,not sexist,none,none,train\n"
        's2,two,sexist,3. animosity,"3.1 casual use of gendered slurs, profanities, and insults",'
        "train\n"
        "s3,three,sexist,2. derogation,2.1 descriptive attacks,dev\n"
        "s4,four,not sexist,none,none,test\ns5,five,sexist,3. animosity,"
        "3.3 backhanded gendered compliments,test\n"
    )

    @pytest.mark.parametrize(
        ("level", "train", "test"),
        [("a", ("s1", "s2"), ("s4", "s5")), ("b", ("s2",), ("s5",)), ("c", ("s2",), ("s5",))],
    )
    def test_one_file_holds_every_split_and_level(
        self, tmp_path: Path, level: str, train: tuple[str, ...], test: tuple[str, ...]
    ) -> None:
        task = load_task(f"semeval2023-task10-{level}")
        path = put(tmp_path, "edos_labelled_aggregated.csv", self.ROWS)
        assert read_examples(task, tmp_path, "train", ["eng"]).ids == train
        assert read_examples(task, tmp_path, "dev", ["eng"]).ids == ("s3",)
        assert read_examples(task, tmp_path, "test", ["eng"], labelled=False).ids == test
        assert read_reference(task, path, "eng", "dev").ids == ("s3",)
        reference = read_reference(task, path, "eng")
        assert reference.ids == test
        assert reference.gold is not None
        assert reference.gold.sum(axis=1).tolist() == [1] * len(test)


def test_directed_pairs_share_a_group_with_their_twin(tmp_path: Path) -> None:
    task = load_task("semeval2027-task2-track1")
    header = "instance_id,pair_id,text1_lang,text2_lang,text1,text2,label\n"
    put(
        tmp_path,
        "final_data/train/dico_nli_train_track1_participant_labeled.csv",
        f"{header}p1__en-en__original,p1,en,en,A dog,An animal,FORWARD_ENTAILMENT\n"
        "p1__en-en__flipped,p1,en,en,An animal,A dog,BACKWARD_ENTAILMENT\n"
        "p2__en-en__original,p2,en,en,A cat,A stone,NEGATIVE_OTHER\n",
    )
    rows = read_examples(task, tmp_path, "train", ["eng"])
    assert rows.pairs == ("An animal", "A dog", "A stone")
    assert number_groups(rows).tolist() == [0, 0, 1]
    assert rows.labels.argmax(axis=1).tolist() == [2, 0, 3]
    gold = put(
        tmp_path,
        "reference.csv",
        "instance_id,pair_id,text1_lang,text2_lang,text1,text2,label,reverse_pair_id\n"
        "a,p,en,en,x,y,EQUIVALENCE,b\nb,p,en,en,y,x,EQUIVALENCE,a\n",
    )
    assert read_reference(task, gold, "eng").kept == {"reverse_pair_id": ("b", "a")}


def test_comments_have_three_targets_and_the_video_as_group(tmp_path: Path) -> None:
    task = load_task("semeval2027-stereoqueereval")
    put(
        tmp_path,
        "StereoQueerEval_EN_training.tsv",
        "StereoQueerEval_id\tyt_title\tyt_description\tyt_comment\tstereotype\thate_speech\ttarget\n"
        'training_EN_0001\tParade\tA day out\t"Two\nlines"\tno\tno\tnone\n'
        "training_EN_0002\tParade\tA day out\thm\tyes\tyes_implicit\tgroup_lgbtqia+\n"
        "training_EN_0003\tTalk\t\tso\tno\tyes_explicit\tindividual_t,nb\n",
    )
    rows = read_examples(task, tmp_path, "train", ["EN"])
    assert rows.texts[0] == "Two\nlines"
    assert rows.contexts == ("Parade A day out", "Parade A day out", "Talk ")
    assert number_groups(rows).tolist() == [0, 0, 1]
    assert [target.name for target in task.main_targets] == ["stereotype", "hate_speech", "target"]
    target = rows.labels[:, task.label_slices["target"]]
    names = np.array(task.targets[2].labels)
    assert [names[row > 0].tolist() for row in target] == [
        [],
        ["group", "lgbtqia+"],
        ["individual", "t", "nb"],
    ]


def test_captions_of_all_languages_stand_in_one_file(tmp_path: Path) -> None:
    task = load_task("semeval2027-artemotion28-st1")
    header = "painting,image_name,image_id,art_style,genre,language,caption,emotion,split\n"
    put(
        tmp_path,
        "annotations/artelingo28_train_val.csv",
        f"{header}p1,i,1,s,g,English,calm,contentment,train\np1,i,1,s,g,Hausa,tsoro,fear,train\n"
        "p1,i,1,s,g,English,hm,something else,train\np2,i,1,s,g,English,grim,sadness,val\n",
    )
    rows = read_examples(task, tmp_path, "train", ["English", "Hausa"])
    assert (rows.texts, rows.groups) == (("calm", "tsoro"), ("p1", "p1"))
    assert rows.labels.tolist() == [[1, 0], [0, 1]]
    assert rows.ids == ("English_train_00001", "Hausa_train_00001")
    assert read_examples(task, tmp_path, "dev", ["English"]).labels.tolist() == [[0, 1]]
    put(
        tmp_path,
        "annotations/artelingo28_test.csv",
        "id,painting,image_name,image_id,art_style,genre,language,caption,split\n"
        "st1_0,p3,i,1,s,g,Hausa,murna,test\n",
    )
    assert read_examples(task, tmp_path, "test", ["Hausa"]).ids == ("st1_0",)


@pytest.mark.parametrize(
    ("subtask", "content", "labels"),
    [
        (
            "nn",
            "ContextID\tCompound\tMod\tHead\tModAvg\tHeadAvg\tContext\n"
            "1\tfiring line\tfiring\tline\t0.6\t0.7\tinto the firing line\n",
            [[0.6, 0.7]],
        ),
        (
            "pv",
            "ContextID\tParticleVerb\tBase\tParticle\tAvg\tContext\n"
            "1\tpull up\tpull\tup\t4.8\tpull up your socks\n",
            [[4.8]],
        ),
    ],
)
def test_compositionality_is_one_or_two_numbers(
    tmp_path: Path, subtask: str, content: str, labels: list[list[float]]
) -> None:
    task = load_task(f"semeval2027-task5-{subtask}")
    put(tmp_path, f"en-{subtask}-train.tsv", content)
    rows = read_examples(task, tmp_path, "train", ["en"])
    assert rows.labels.tolist() == labels
    assert ": " in rows.pairs[0]
    put(tmp_path, f"en-{subtask}-train.tsv", content.replace("0.7", "7").replace("4.8", "48"))
    with pytest.raises(KitError, match=r"outside the range 0 to 5 .* set range = \[0, (7|48)\]"):
        read_examples(task, tmp_path, "train", ["en"])


def test_official_relatedness_is_read_whole(shared_data: Path) -> None:
    task, folder = load_task("semeval2024-task1-a"), shared_data / "semeval2024-task1"
    if not folder.is_dir():
        pytest.skip("the data of SemEval-2024 Task 1 is not on this machine")
    rows = read_examples(task, folder, "train", ["eng", "amh"])
    assert (rows.languages.count("eng"), rows.languages.count("amh")) == (5500, 992)
    assert all(rows.texts)
    assert all(rows.pairs)
    assert rows.labels.min() >= 0
    assert rows.labels.max() == 1
    report = check_tasks([task], folder, ["eng", "hau", "mar", "tel", "amh", "ary"])
    assert report.n_errors == 0


def test_official_stories_are_read_whole_and_their_group_is_noticed(shared_data: Path) -> None:
    task, folder = load_task("semeval2026-task5"), shared_data / "semeval2026-task5"
    if not folder.is_dir():
        pytest.skip("the data of SemEval-2026 Task 5 is not on this machine")
    rows = {s: read_examples(task, folder, s, ["eng"]) for s in ("train", "dev", "test")}
    assert [len(part) for part in rows.values()] == [2280, 588, 930]
    assert number_groups(rows["train"]).max() + 1 == 220
    assert not set(rows["train"].groups) & set(rows["dev"].groups)
    assert float(rows["dev"].kept["stdev"][0]) > 0
    assert np.isnan(rows["test"].labels).all()
    assert check_tasks([task], folder).groups == ()
    unnamed = task.model_copy(update={"data": task.data.model_copy(update={"group_column": ""})})
    assert check_tasks([unnamed], folder).groups == (
        "semeval2026-task5: column 'homonym' looks like a group (2,280 rows of train share 220 "
        "values, none is in dev): name it in the task file as data.group_column",
    )
