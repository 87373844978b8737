from __future__ import annotations

import shutil
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from semeval_kit.errors import KitError
from semeval_kit.files import write_kept
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_answers
from semeval_kit.show.figures.charts import (
    MOST_NUMBERED,
    draw_matrix,
    draw_pairs,
    render_png,
    render_svg,
)
from semeval_kit.show.figures.data import (
    draw_label_distribution,
    draw_level_distribution,
    draw_text_lengths,
    share_cooccurrence,
)
from semeval_kit.show.figures.decision import (
    calibrate,
    count_pairs,
    draw_calibration,
    draw_confusions,
    draw_f1_thresholds,
    share_class_confusion,
    share_cooccurrence_confusion,
    trace_f1,
)
from semeval_kit.show.figures.pictures import draw_figures, read_all_answers, write_figures
from semeval_kit.show.figures.training import draw_radar, draw_training
from semeval_kit.show.mistakes import find_hardest, find_wrong, measure_losses
from semeval_kit.task.codec import encode_labels

NAMES = (
    *("anger", "fear", "joy", "sadness", "surprise", "anticipation"),
    *("optimism_and_hope", "pessimism", "$x$ <b>", "anger_directed_at_oneself"),
    "a label whose name goes on and on and on",
)


def history(n_epochs, fold):
    return [
        {"epoch": e, "train_loss": 0.7 / e, "val_loss": 0.5 + 0.01 * fold, "macro_f1": 0.1 * e}
        for e in range(1, n_epochs + 1)
    ]


def draw_square(labels, shares, counts):
    return draw_matrix(shares, labels, labels, ("gold (n)", "predicted (%)"), counts)


def draw_all(labels, n_folds, n_rows=240):
    """Every kind of figure for these labels, by name."""
    rng = np.random.default_rng(len(labels))
    n = len(labels)
    gold = (rng.random((n_rows, n)) < np.linspace(0.05, 0.6, n)).astype(float)
    gold[:40, -1] = np.nan
    levels = gold * rng.integers(1, 4, gold.shape)
    probs = rng.random((n_rows, n))
    preds = (probs > 0.4).astype(int)
    classes = rng.integers(0, n, (2, n_rows))
    events = [f"{label}>={level}" for label in labels for level in (1, 2, 3)]
    cuts = np.linspace(0.05, 0.95, n)
    cuts[-1] = np.nan
    scores = {label: float(x) for label, x in zip(labels, np.linspace(0.9, 0, n), strict=True)}
    lengths = {s: rng.integers(1, 300, m) for s, m in (("train", n_rows), ("dev", 9), ("test", 70))}
    return {
        "distribution": draw_label_distribution(labels, {"train": gold, "dev": gold[:40]}),
        "distribution of one": draw_label_distribution(labels, {"train": gold}),
        "levels": draw_level_distribution(labels, levels, 3),
        "co-occurrence": draw_square(labels, *share_cooccurrence(gold)),
        "pairs": draw_pairs(*share_cooccurrence(gold)[:1], labels, gold.sum(axis=0), "examples"),
        "languages": draw_matrix(rng.random((2, n)), ["eng", "ptbr"], labels, ("language", "%")),
        "lengths": draw_text_lengths(lengths),
        "token lengths": draw_text_lengths(lengths, "tokens", 128),
        "training": draw_training([history(4, f) for f in range(n_folds)], [3] * n_folds),
        "one epoch": draw_training([history(1, f) for f in range(n_folds)], [1] * n_folds),
        "thresholds": draw_f1_thresholds(labels, probs, gold, cuts),
        "calibration": draw_calibration(labels, probs, gold),
        "calibration of events": draw_calibration(events, np.tile(probs, 3), np.tile(gold, 3)),
        "confusions": draw_confusions(labels, gold, preds),
        "level confusions": draw_confusions(labels, levels, np.nan_to_num(levels).astype(int), 3),
        "co-occurrence confusion": draw_square(
            [*labels, "none"], *share_cooccurrence_confusion(gold, preds)
        ),
        "classes": draw_square(labels, *share_class_confusion(*classes, n)),
        "radar": draw_radar(scores, scores, ("fine-tuned", "before fine-tuning")),
    }


@contextmanager
def noting_texts(monkeypatch, drawn):
    """Note every text that really is drawn, with its box in pixels."""
    draw = Text.draw

    def note(self, renderer, *args, **kwargs):
        draw(self, renderer, *args, **kwargs)
        if self.get_visible() and self.get_text().strip():
            # A first pass, before the layout is known, is overwritten by the real one.
            drawn[id(self)] = (self.get_text(), self.get_window_extent(renderer))

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", note)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(("n_labels", "n_folds"), [(2, 1), (5, 5), (11, 10), (28, 2)])
def test_no_text_is_clipped_or_lies_on_another_and_no_panel_is_empty(
    monkeypatch, n_labels, n_folds
):
    many = (*NAMES, *(f"emotion_{n}" for n in range(17)))
    labels = NAMES[-2:] if n_labels == 2 else many[:n_labels]
    for name, figure in draw_all(labels, n_folds).items():
        drawn = {}
        with noting_texts(monkeypatch, drawn):
            render_png(figure)
        assert drawn, name
        # The figure was rendered at 200 dots per inch; extents were noted there.
        width, height = figure.get_size_inches() * 200
        for text, box in drawn.values():
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{name}: {text!r} is clipped: {box}"
        for (one, a), (other, b) in combinations(drawn.values(), 2):
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert wide < 1 or high < 1, f"{name}: {one!r} lies on {other!r}"
        assert all(axes.has_data() for axes in figure.axes), name


def test_formulas_and_markup_in_names_are_characters():
    gold = np.eye(2)
    svg = render_svg(draw_label_distribution(("$x^2$", "</svg><script>"), {"train": gold}), "x")
    assert ">$x^2$<" in svg
    assert "&lt;/svg&gt;&lt;" in svg
    assert "<script" not in svg


def test_bars_are_as_long_as_the_shares_of_annotated_rows():
    gold = np.array([[1, 0], [1, np.nan], [0, np.nan], [0, 1]])
    axes = draw_label_distribution(("joy", "fear"), {"train": gold}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [50.0, 50.0]
    levels = np.array([[1, 0], [3, np.nan], [0, np.nan], [3, 2]])
    axes = draw_level_distribution(("joy", "fear"), levels, 3).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [25, 0, 0, 50, 50, 0]
    assert [bar.get_x() for bar in axes.patches][4:] == [25, 50]


def read_cells(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_cooccurrence_is_given_the_row():
    gold = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=float)
    figure = draw_square(("joy", "fear", "anger"), *share_cooccurrence(gold))
    assert read_cells(figure) == ["100", "25", "0", "100", "100", "0", *"–––"]
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == ["joy (4)", "fear (1)", "anger (0)"]


def test_a_prediction_counts_in_the_cooccurrence_confusion_only_where_annotated():
    gold = np.array([[1, 0], [1, np.nan], [0, 0]])
    preds = np.array([[1, 1], [0, 1], [0, 0]])
    figure = draw_square(("joy", "fear", "none"), *share_cooccurrence_confusion(gold, preds))
    # joy: recall 1 of 2; of the one row annotated for fear, one was called fear; none without any.
    assert read_cells(figure) == ["50", "100", "0", "–", "–", "–", "0", "0", "100"]


def test_many_labels_have_a_scale_instead_of_numbers_and_their_pairs_beside_it():
    names = tuple(f"emotion {n}" for n in range(MOST_NUMBERED + 1))
    shares = np.eye(len(names))
    shares[0, 1], shares[2, 3], shares[4, 4] = 0.25, 0.5, np.nan
    counts = np.full(len(names), 40.0)
    counts[2] = 10
    figure = draw_square(names, shares, counts)
    assert read_cells(figure) == []
    scale = [tick.get_text() for tick in figure.axes[1].get_xticklabels()]
    assert scale == ["0", "50", "100 %"]
    assert len(read_cells(draw_square(names[:-1], shares[:-1, :-1], counts[:-1]))) == 14**2
    bars = draw_pairs(shares, names, counts, "examples").axes[0]
    assert [bar.get_width() for bar in bars.patches] == [10, 5]
    assert [text.get_text() for text in bars.texts] == ["10 (25%)", "5 (50%)"]
    shown = [tick.get_text() for tick in bars.get_yticklabels()]
    assert shown == ["emotion 0 → emotion 1", "emotion 2 → emotion 3"]


def test_text_lengths_show_where_the_model_stops_reading_if_that_is_in_sight():
    lengths = {"train": [3, 5, 5, 9] * 30}
    near, far = (draw_text_lengths(lengths, "tokens", limit) for limit in (8, 128))
    assert [text.get_text() for text in near.legends[0].texts] == ["train (median 5)", "cut at 8"]
    assert [text.get_text() for text in far.legends[0].texts] == ["train (median 5)"]
    assert near.axes[0].get_xlabel() == "length of a text (tokens)"


def test_confusions_show_counts_and_the_percentage_of_their_row():
    gold = np.array([[0], [0], [0], [1], [np.nan]])
    preds = np.array([[0], [0], [1], [1], [1]])
    axes = draw_confusions(("joy",), gold, preds).axes[0]
    assert [t.get_text() for t in axes.texts] == ["2\n67%", "1\n33%", "0", "1\n100%"]
    assert count_pairs(gold[:4, 0], preds[:4, 0], 2).tolist() == [[2, 1], [0, 1]]


def test_f1_against_threshold_is_that_of_counting():
    rng = np.random.default_rng(1)
    gold = (rng.random(150) < 0.3).astype(float)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * gold, 0.2), 0, 1), 2)
    gold[:10] = np.nan
    curve = trace_f1(scores, gold)
    known = ~np.isnan(gold)
    for cut, f1 in zip(curve.cuts, curve.f1, strict=True):
        called = scores[known] >= cut
        hits = (called & (gold[known] == 1)).sum()
        assert f1 == pytest.approx(2 * hits / (called.sum() + gold[known].sum()), abs=1e-12)
    assert (curve.low <= curve.f1 + 1e-9).mean() > 0.95
    assert (curve.high >= curve.f1 - 1e-9).mean() > 0.95
    assert np.array_equal(curve.low, trace_f1(scores, gold).low)
    assert not np.array_equal(curve.low, trace_f1(scores, gold, seed=1).low)
    assert np.isnan(trace_f1(scores, np.full(150, np.nan)).f1).all()


def test_rows_of_a_group_are_drawn_together():
    gold = np.tile([1.0, 0.0], 50)
    scores = np.tile([0.9, 0.1, 0.2, 0.8], 25)
    alone, together = trace_f1(scores, gold), trace_f1(scores, gold, groups=[0, 1] * 50)
    assert np.nanmean(together.high - together.low) > np.nanmean(alone.high - alone.low)


def test_calibration_counts_equal_bins_with_wilson_intervals():
    scores = np.concatenate([np.full(20, 0.2), np.full(20, 0.8)])
    gold = np.concatenate([[1.0] * 4, [0.0] * 16, [1.0] * 20])
    found = calibrate(scores, gold)
    assert found.means == pytest.approx([0.2, 0.8])
    assert found.rates.tolist() == [0.2, 1.0]
    assert found.error == pytest.approx(0.1)
    # R: binom::binom.wilson(c(4, 20), 20) gives these ends.
    assert found.low == pytest.approx([0.0806567, 0.8388747], abs=1e-4)
    assert found.high == pytest.approx([0.4160174, 1.0], abs=1e-4)
    assert len(calibrate(scores[:30], gold[:30]).means) == 1
    assert np.isnan(calibrate(scores, np.full(40, np.nan)).error)


def test_the_mean_of_the_folds_stops_where_the_first_fold_stops():
    figure = draw_training([history(4, 0), history(2, 2)], [3, 2])
    losses = [line for line in figure.axes[0].lines if line.get_linewidth() > 2]
    assert list(losses[0].get_xdata()) == [1, 2]
    validation = next(line for line in losses if list(line.get_ydata()) == [0.51, 0.51])
    assert list(validation.get_xdata()) == [1, 2]


def test_a_measure_is_named_as_the_kind_of_task_calls_it():
    rows = [{"epoch": 1, "train_loss": 0.7, "val_loss": 0.5, "subset_accuracy": 0.4}]
    for kind, name in (("multilabel", "subset acc."), ("singlelabel", "accuracy")):
        figure = draw_training([rows], [1], "subset_accuracy", kind)
        assert figure.axes[1].get_ylabel() == f"{name} (0 to 1)"
        assert figure.axes[1].lines[0].get_label() == f"validation {name}"


def test_two_scores_are_bars_and_three_a_radar():
    many = {f"emotion {n}": 0.5 for n in range(13)}
    assert draw_radar(many, many, ("a", "b")).axes[0].name == "rectilinear"
    two, three = {"joy": 0.5, "fear": 0.1}, {"joy": 0.5, "fear": 0.1, "anger": float("nan")}
    assert draw_radar(two, two, ("a", "b")).axes[0].name == "rectilinear"
    polar = draw_radar(three, {**three, "joy": -0.2}, ("a", "b")).axes[0]
    assert polar.name == "polar"
    assert polar.lines[1].get_ydata().tolist() == [0.5, 0.1, 0.0, 0.5]
    assert polar.lines[0].get_ydata().tolist() == [0.0, 0.1, 0.0, 0.0]


PICTURES = {
    "demo": (
        *("calibration", "confusion", "cooccurrence-confusion", "f1-thresholds"),
        *("label-cooccurrence", "label-distribution", "text-lengths", "training"),
    ),
    "intensity": (
        *("calibration", "confusion", "f1-thresholds", "label-cooccurrence"),
        *("label-distribution", "level-distribution", "text-lengths", "training"),
    ),
    "single": ("calibration", "confusion", "label-distribution", "text-lengths", "training"),
}


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("demo", "intensity")), "single"],
)
def test_a_run_gets_the_pictures_that_suit_its_kind(made_run, made_runs, tmp_path, name):
    run = copy_run(made_run if name == "demo" else made_runs[name], tmp_path)
    paths = write_figures(run, formats=["svg"])
    assert tuple(sorted(path.stem for path in paths)) == PICTURES[name]
    assert {path.parent for path in paths} == {run.figures_dir}
    first = {path.name: path.read_bytes() for path in paths}
    write_figures(run, formats=["svg"])
    assert {path.name: path.read_bytes() for path in paths} == first


def test_a_run_that_is_only_prepared_gets_the_pictures_of_its_data(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    for fold in range(run.n_folds):
        shutil.rmtree(run.fold_dir(fold))
    assert read_all_answers(run) == {"oof": None, "dev": None, "test": None}
    names = [path.stem for path in write_figures(run, formats=["svg"])]
    assert names == ["label-distribution", "label-cooccurrence", "text-lengths"]


def test_several_languages_are_compared(made_runs):
    run = made_runs["two-languages"]
    pictures = draw_figures(run, run.read_train(), read_all_answers(run))
    picture = next(picture for picture in pictures if picture.name == "language-labels")
    svg = render_svg(picture.figure, picture.name)
    assert ">eng<" in svg
    assert ">afr<" in svg
    assert ">–<" in svg  # afr has no label surprise


def test_before_adds_a_radar_and_must_be_the_same_encoder_untrained(make_run, tmp_path):
    before = forget_training(make_run(tmp_path, name="before", quality=0.1))
    after = make_run(tmp_path, name="after")
    *_, last = draw_figures(after, after.read_train(), read_all_answers(after), before)
    assert last.name == "before-after"
    with pytest.raises(KitError, match="was trained for 4 epochs.*--epochs 0"):
        write_figures(after, make_run(tmp_path, name="trained"), ["svg"])
    other = forget_training(make_run(tmp_path, name="other", encoder="prajjwal1/bert-tiny"))
    with pytest.raises(KitError, match="its encoder is prajjwal1/bert-tiny, that of after is"):
        write_figures(after, other, ["svg"])
    kind = forget_training(make_run(tmp_path, name="kind", kind="intensity"))
    with pytest.raises(KitError, match="its task is made-intensity"):
        write_figures(after, kind, ["svg"])


def test_losses_are_cross_entropies(made_run, made_runs):
    for run in (made_run, made_runs["intensity"], made_runs["single"]):
        oof = read_answers(run, "oof")
        losses = measure_losses(run.task, oof)
        targets, probs = encode_labels(run.task, oof.gold), oof.probs.values
        row = 17
        if run.task.kind == "singlelabel":
            expected = -np.log(probs[row, int(oof.gold[row].argmax())])
        else:
            right = np.where(targets[row] == 1, probs[row], 1 - probs[row])
            expected = -np.log(right).mean()
        assert losses[row] == pytest.approx(expected, rel=1e-9)
        hardest = find_hardest(run.task, oof, 5)
        wrong = (oof.tuned != oof.gold).any(axis=1)
        assert [example.loss for example in hardest] == sorted(losses[wrong], reverse=True)[:5]


def test_the_surest_mistakes_are_on_the_wrong_side_and_worst_first(made_run, made_runs):
    for run in (made_run, made_runs["intensity"], made_runs["single"]):
        oof = read_answers(run, "oof")
        wrong = find_wrong(run.task, oof, 8)
        distances = [1 - w.prob if w.is_gold else w.prob for w in wrong]
        assert distances == sorted(distances, reverse=True)
        assert min(distances) > 0.5
        assert len({w.id for w in wrong}) == len(wrong)
        row = oof.examples.ids.index(wrong[0].id)
        column = oof.probs.target_names.index(wrong[0].target)
        assert encode_labels(run.task, oof.gold)[row, column] == wrong[0].is_gold
        assert oof.probs.values[row, column] == wrong[0].prob


def copy_run(run: Run, folder: Path) -> Run:
    shutil.copytree(run.path, folder / run.name)
    return Run.open(folder / run.name)


def forget_training(run: Run) -> Run:
    """The same run as if it had been made with `--epochs 0`."""
    text = run.recipe_file.read_text()
    assert "epochs = 4\n" in text
    write_kept(run.recipe_file, text.replace("epochs = 4\n", "epochs = 0\n"))
    return Run.open(run.path)
