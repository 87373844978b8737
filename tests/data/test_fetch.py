"""`data fetch`: from a folder, and from a hub data set that stands here as local parquet files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from semeval_kit.data.examples import read_examples
from semeval_kit.data.fetch import fetch_from_folder, fetch_from_hub, render_file
from semeval_kit.errors import KitError
from semeval_kit.task.task import Task, load_task

HEADER = "id,text,anger,fear,joy\n"
FILES = {
    "track_a/train/eng.csv": f'{HEADER}t1,"late, again",1,0,0\nt2,null,0,0,1\n',
    "dev/eng.csv": f"{HEADER}d1,hm,0,1,1\n",
    "test/eng.csv": f"{HEADER}e1,NA,1,0,0\ne2,“ok”,0,0,0\n",
    "track_a/train/deu.csv": "id,text,anger,joy\nx1,zwei,1,0\n",
    "dev/deu.csv": "id,text,anger,joy\ny1,drei,0,1\n",
    "test/deu.csv": "id,text,anger,joy\nz1,vier,0,0\n",
}
HUB = '\n[hub]\nrepo = "somebody/something"\nlanguages = ["eng", "deu"]\n'


@pytest.fixture
def hub_task(write_task: Callable[..., Task], task_text: str) -> Task:
    return write_task(text=task_text + HUB)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set as on the hub: one config per language, parquet, labels also as a list."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("hub") / "something"
    rows = {
        ("eng", "train"): [("t1", "late, again", 1, 0, 0), ("t2", "null", 0, 0, 1)],
        ("eng", "dev"): [("d1", "hm", 0, 1, 1)],
        ("eng", "test"): [("e1", "NA", 1, 0, 0), ("e2", "“ok”", 0, 0, 0)],
        ("deu", "train"): [("x1", "zwei", 1, None, 0)],
        ("deu", "dev"): [("y1", "drei", 0, None, 1)],
        ("deu", "test"): [("z1", "vier", 0, None, 0)],
    }
    card = "---\nconfigs:\n"
    for (language, split), content in rows.items():
        columns = dict(
            zip(("id", "text", "anger", "fear", "joy"), zip(*content, strict=True), strict=True)
        )
        table = {name: list(values) for name, values in columns.items()}
        schema = pyarrow.schema(
            [
                (name, pyarrow.string() if name in ("id", "text") else pyarrow.int64())
                for name in table
            ]
            + [("emotions", pyarrow.list_(pyarrow.string()))]
        )
        table["emotions"] = [[] for _ in content]
        path = folder / language / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(table, schema=schema), path)
    for language in ("eng", "deu"):
        card += f"- config_name: {language}\n  data_files:\n"
        for split in ("train", "dev", "test"):
            card += f"  - split: {split}\n    path: {language}/{split}-*\n"
    (folder / "README.md").write_text(card + "---\n", encoding="utf-8")
    return folder


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What datasets keeps goes into the test's folder."""
    config = pytest.importorskip("datasets.config")
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")


class TestFromFolder:
    def test_files_are_copied_byte_for_byte(self, task: Task, source: Path, tmp_path: Path) -> None:
        crlf = FILES["dev/eng.csv"].replace("\n", "\r\n").encode()
        (source / "dev/eng.csv").write_bytes(crlf)
        done = fetch_from_folder(task, source, tmp_path / "data")
        assert (tmp_path / "data/dev/eng.csv").read_bytes() == crlf
        assert len(done.files) == 6
        assert done.kept == ()
        assert done.missing == (
            f"dev of ron: not in {source}",
            f"test of ron: not in {source}",
        )

    def test_the_manifest_holds_digest_rows_and_labels(
        self, task: Task, source: Path, tmp_path: Path
    ) -> None:
        fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        manifest = json.loads((tmp_path / "data/manifest.json").read_text())
        assert list(manifest["files"]) == ["dev/eng.csv", "test/eng.csv", "track_a/train/eng.csv"]
        content = FILES["track_a/train/eng.csv"].encode()
        assert manifest["files"]["track_a/train/eng.csv"] == {
            "task": "made-up",
            "split": "train",
            "language": "eng",
            "rows": 2,
            "labels": {"anger": 1, "fear": 0, "joy": 1},
            "sha256": hashlib.sha256(content).hexdigest(),
            "source": "copied from downloads",
        }

    def test_another_pattern_of_the_source_lands_in_the_first(
        self, task: Task, source: Path, tmp_path: Path
    ) -> None:
        (source / "track_a/train").rename(source / "train")
        fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        assert (tmp_path / "data/track_a/train/eng.csv").exists()

    def test_what_is_in_place_is_verified_and_kept(
        self, task: Task, source: Path, tmp_path: Path
    ) -> None:
        first = fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        again = fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        assert again.files == first.files
        assert again.kept == ("track_a/train/eng.csv", "dev/eng.csv", "test/eng.csv")

    def test_a_changed_file_is_named_and_left_alone(
        self, task: Task, source: Path, tmp_path: Path
    ) -> None:
        fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        changed = tmp_path / "data/dev/eng.csv"
        changed.write_text(f"{HEADER}d1,mine,0,1,1\n")
        with pytest.raises(KitError, match=r"dev/eng\.csv: has changed since it was fetched"):
            fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        assert "mine" in changed.read_text()

    def test_a_file_of_another_origin_is_not_overwritten(
        self, task: Task, source: Path, tmp_path: Path
    ) -> None:
        own = tmp_path / "data/dev/eng.csv"
        own.parent.mkdir(parents=True)
        own.write_text(f"{HEADER}d1,mine,0,1,1\n")
        with pytest.raises(KitError, match=r"dev/eng\.csv: is already there and differs"):
            fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        assert "mine" in own.read_text()

    def test_a_file_with_problems_is_not_put_in_place(
        self, task: Task, source: Path, tmp_path: Path
    ) -> None:
        (source / "dev/eng.csv").write_text(f"{HEADER}d1,hm,0,2,1\n")
        with pytest.raises(KitError) as error:
            fetch_from_folder(task, source, tmp_path / "data", ["eng"])
        assert f"{source}/dev/eng.csv, line 2: label 'fear' is '2'" in error.value.message
        assert not list((tmp_path / "data/dev").iterdir())

    def test_a_folder_without_files_says_what_was_looked_for(
        self, task: Task, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(KitError, match=r"holds no file of made-up \(looked for track_a/train"):
            fetch_from_folder(task, tmp_path / "empty", tmp_path / "data")
        with pytest.raises(KitError, match="no such folder"):
            fetch_from_folder(task, tmp_path / "absent", tmp_path / "data")


@pytest.mark.usefixtures("no_cache")
class TestFromHub:
    def test_parquet_becomes_the_organisers_files(
        self, hub_task: Task, parquet: Path, tmp_path: Path
    ) -> None:
        done = fetch_from_hub(hub_task, tmp_path / "data", repo=str(parquet))
        written = {
            str(path.relative_to(tmp_path / "data")): path.read_bytes().decode()
            for path in (tmp_path / "data").rglob("*.csv")
        }
        assert written == FILES
        assert done.missing == (
            f"ron: not in {parquet}; copy it: semeval-kit data fetch made-up --from FOLDER",
        )
        train = read_examples(hub_task, tmp_path / "data", "train", ["eng"])
        assert train.texts == ("late, again", "null")

    def test_a_second_fetch_needs_no_hub(
        self, hub_task: Task, parquet: Path, tmp_path: Path
    ) -> None:
        first = fetch_from_hub(hub_task, tmp_path / "data", ["eng"], repo=str(parquet))
        again = fetch_from_hub(hub_task, tmp_path / "data", ["eng"], load=refuse)
        assert again.files == first.files
        assert len(again.kept) == 3

    def test_a_file_that_was_removed_is_fetched_again(
        self, hub_task: Task, parquet: Path, tmp_path: Path
    ) -> None:
        fetch_from_hub(hub_task, tmp_path / "data", ["eng"], repo=str(parquet))
        (tmp_path / "data/dev/eng.csv").unlink()
        again = fetch_from_hub(hub_task, tmp_path / "data", ["eng"], repo=str(parquet))
        assert again.kept == ("track_a/train/eng.csv", "test/eng.csv")
        assert (tmp_path / "data/dev/eng.csv").read_text() == FILES["dev/eng.csv"]

    def test_gold_goes_apart_where_the_task_keeps_it_apart(
        self, write_task: Callable[..., Task], task_text: str, parquet: Path, tmp_path: Path
    ) -> None:
        files = (
            'test = ["test/{lang}.csv"]',
            'test = ["test/{lang}.csv"]\ngold = ["gold/{lang}.csv"]',
        )
        task = write_task(files, text=task_text + HUB)
        fetch_from_hub(task, tmp_path / "data", ["eng"], repo=str(parquet))
        blank = f"{HEADER}e1,NA,,,\ne2,“ok”,,,\n"
        assert (tmp_path / "data/test/eng.csv").read_text(encoding="utf-8") == blank
        gold = (tmp_path / "data/gold/eng.csv").read_text(encoding="utf-8")
        assert gold == FILES["test/eng.csv"]

    def test_a_config_that_is_not_there_says_how_to_copy(
        self, write_task: Callable[..., Task], task_text: str, parquet: Path, tmp_path: Path
    ) -> None:
        task = write_task(text=task_text + HUB + 'configs = { eng = "english" }\n')
        with pytest.raises(KitError, match=r"\(english\): cannot be loaded.*--from FOLDER"):
            fetch_from_hub(task, tmp_path / "data", ["eng"], repo=str(parquet))


class TestWithoutHub:
    def test_without_a_network_the_remedy_is_named(self, tmp_path: Path) -> None:
        def offline(name: str, config: str, revision: str) -> None:
            raise ConnectionError("Couldn't reach the hub\nlong tail")

        task = load_task("semeval2025-task11-a")
        with pytest.raises(KitError) as error:
            fetch_from_hub(task, tmp_path / "data", ["eng"], load=offline)
        assert error.value.message == (
            "brighter-dataset/BRIGHTER-emotion-categories (eng): cannot be loaded (Couldn't reach "
            "the hub). Without a network, or without that data set, copy the organisers' files "
            "from a folder: semeval-kit data fetch semeval2025-task11-a --from FOLDER"
        )

    @pytest.mark.usefixtures("no_cache")
    def test_the_library_itself_fails_into_the_same_sentence(self, tmp_path: Path) -> None:
        # conftest sets HF_HUB_OFFLINE, so no request leaves this machine.
        with pytest.raises(KitError, match=r"cannot be loaded.*--from FOLDER"):
            fetch_from_hub(load_task("semeval2025-task11-b"), tmp_path / "data", ["eng"])

    def test_a_task_without_a_data_set_says_where_to_look(self, tmp_path: Path) -> None:
        task = load_task("semeval2019-task3")
        with pytest.raises(KitError, match=r"names no data set.*19790.*--from FOLDER"):
            fetch_from_hub(task, tmp_path / "data")

    def test_languages_that_the_data_set_lacks_are_named(self, tmp_path: Path) -> None:
        task = load_task("semeval2025-task11-a")
        with pytest.raises(KitError, match="holds none of these languages"):
            fetch_from_hub(task, tmp_path / "data", ["amh"], load=refuse)


class TestRendering:
    def test_whole_floats_and_nulls_are_spelled_as_the_organisers_do(self, task: Task) -> None:
        table = {"id": ["a", "b"], "text": ['say "hi"', "x"], "anger": [1.0, 0.0], "joy": [0, None]}
        text = render_file(task, "deu", table, "here")
        assert text == 'id,text,anger,joy\na,"say ""hi""",1,0\nb,x,0,\n'

    def test_a_missing_column_is_named(self, task: Task) -> None:
        with pytest.raises(
            KitError, match="here: column 'joy' is missing; there are id, text, anger"
        ):
            render_file(task, "deu", {"id": ["a"], "text": ["b"], "anger": [1]}, "here")

    def test_other_layouts_are_refused(self) -> None:
        task = load_task("emotion-text")
        with pytest.raises(KitError, match="not one column per label"):
            render_file(task, "eng", {"text": ["a"]}, "here")


def test_a_broken_manifest_is_named(task: Task, source: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.json").write_text('{"files": {"a.csv": {"sha": 1}}}')
    with pytest.raises(KitError, match=r"manifest\.json: is no manifest of fetched files"):
        fetch_from_folder(task, source, tmp_path / "data")


def test_official_files_are_copied_as_they_are(official_data: Path, tmp_path: Path) -> None:
    task = load_task("semeval2025-task11-a")
    done = fetch_from_folder(task, official_data, tmp_path / "data", ["eng", "ron"])
    assert [(file.path, file.rows) for file in done.files] == [
        ("track_a/train/eng.csv", 2764),
        ("track_a/dev/eng.csv", 115),
        ("track_a/test/eng.csv", 2765),
        ("track_a/train/ron.csv", 1241),
        ("track_a/dev/ron.csv", 123),
        ("track_a/test/ron.csv", 1119),
    ]
    assert done.files[0].labels == {
        "anger": 333,
        "fear": 1610,
        "joy": 674,
        "sadness": 876,
        "surprise": 839,
    }


def refuse(name: str, config: str, revision: str) -> None:
    raise AssertionError("the hub was asked")


def test_other_shapes_are_fetched_whole(tmp_path: Path) -> None:
    source = tmp_path / "olid"
    source.mkdir()
    (source / "olid-training-v1.0.tsv").write_text(
        "id\ttweet\tsubtask_a\tsubtask_b\tsubtask_c\n1\thm\tNOT\tNULL\tNULL\n2\tx\tOFF\tUNT\tNULL\n"
    )
    (source / "testset-levela.tsv").write_text("id\ttweet\n7\thm\n")
    (source / "labels-levela.csv").write_text("7,NOT\n")
    done = fetch_from_folder(load_task("semeval2019-task6-a"), source, tmp_path / "data")
    assert [(file.path, file.rows, file.labels) for file in done.files] == [
        ("olid-training-v1.0.tsv", 2, {"OFF": 1, "NOT": 1}),
        ("testset-levela.tsv", 1, {}),
        ("labels-levela.csv", 1, {"OFF": 0, "NOT": 1}),
    ]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "labels-levela.csv",
        "manifest.json",
        "olid-training-v1.0.tsv",
        "testset-levela.tsv",
    ]


def test_a_file_of_all_splits_is_fetched_once(tmp_path: Path) -> None:
    source = tmp_path / "edos"
    source.mkdir()
    (source / "edos_labelled_aggregated.csv").write_text(
        "rewire_id,text,label_sexist,label_category,label_vector,split\n"
        "1,a,sexist,2. derogation,2.1 descriptive attacks,train\n2,b,not sexist,none,none,dev\n"
        "3,c,sexist,2. derogation,2.1 descriptive attacks,test\n"
    )
    done = fetch_from_folder(load_task("semeval2023-task10-a"), source, tmp_path / "data")
    assert [(file.path, file.split, file.rows) for file in done.files] == [
        ("edos_labelled_aggregated.csv", "train", 1)
    ]
    assert done.missing == ()
