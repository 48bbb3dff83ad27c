import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from softjet.figures import training
from softjet.figures.training import draw_confusion, draw_history, draw_roc
from softjet.part.evaluate import confusion_table, roc_table


@pytest.fixture(scope="module")
def logits_and_labels():
    generator = np.random.default_rng(0)
    labels = np.arange(3).repeat(200)
    return generator.normal(size=(600, 3)) + 2 * np.eye(3)[labels], labels


NAMES = ("QCD", "Hbb", "Tbl")


def assert_drawn(path):
    image = plt.imread(path)
    assert image.shape[0] > 300
    assert image[..., :3].std() > 0.05
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_confusion(tmp_path, logits_and_labels):
    draw_confusion(confusion_table(*logits_and_labels, NAMES), tmp_path / "confusion.png")
    assert_drawn(tmp_path / "confusion.png")


def test_roc(tmp_path, logits_and_labels):
    draw_roc(roc_table(*logits_and_labels, NAMES), tmp_path / "roc.png")
    assert_drawn(tmp_path / "roc.png")


def test_a_dataset_without_background_says_so(tmp_path):
    table = roc_table(np.zeros((4, 2)), np.array([0, 0, 1, 1]), ("other", "mine"))
    draw_roc(table, tmp_path / "roc.png")
    assert plt.imread(tmp_path / "roc.png").shape[0] > 300


def a_history():
    step = np.arange(1, 41)
    validation = np.where(step % 10 == 0, 2 / step, np.nan)
    columns = {"loss": 2 / step, "validation_loss": validation, "validation_accuracy": 1 - validation}
    return pd.DataFrame({"step": step} | columns)


def test_bars_of_accuracy_hold_95_percent_and_say_so(monkeypatch):
    kept = []
    monkeypatch.setattr(training, "save_figure", lambda figure, target: kept.append(figure))
    draw_history(a_history(), "history.png", batch_size=128, n_validation=100)
    accuracy = kept[0].axes[1]
    (bars,) = accuracy.containers[0].lines[2]
    low, high = bars.get_segments()[-1][:, 1]
    half = 1.96 * np.sqrt(0.95 * 0.05 / 100)
    assert (low, high) == pytest.approx((0.95 - half, 0.95 + half))
    assert [text.get_text() for text in accuracy.texts] == ["0.950 ± 0.043 (95 %)"]
    assert accuracy.get_ylabel() == "validation accuracy (100 jets; bars: 95 %)"
    plt.close(kept[0])


def test_history(tmp_path):
    draw_history(a_history(), tmp_path / "history.png", batch_size=128, n_validation=100)
    assert_drawn(tmp_path / "history.png")
