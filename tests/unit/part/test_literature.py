import numpy as np
import pandas as pd

from softjet.jets.schema import CLASSES
from softjet.part.evaluate import metrics_table
from softjet.part.literature import beside_published, published_results, results_text
from softjet.part.rejection import working_points


def test_the_published_model_has_every_metric_of_its_table():
    for classes in (CLASSES, ("QCD", "Top")):
        table = published_results(classes)
        model = table[table["model"] == "ParT"]
        wanted = {("accuracy", "all"), ("auc", "all")}
        wanted |= {(point.metric, point.signal) for point in working_points(classes)}
        assert set(zip(model["metric"], model["class"], strict=True)) == wanted
        assert model["value"].gt(0).all()


def test_published_values_stand_beside_ours_by_metric_and_class():
    ours = pd.DataFrame(
        {"metric": ["accuracy", "accuracy", "rejection_50"], "class": ["all", "Hbb", "Tbqq"], "value": 0.5}
    ).assign(n=9)
    found = beside_published(ours, CLASSES)
    assert found["published"].iloc[[0, 2]].tolist() == [0.861, 32787]
    assert np.isnan(found["published"].iloc[1])
    assert beside_published(ours, ("QCD", "mine"))["published"].isna().all()


def test_what_is_published_of_ten_classes_is_not_set_beside_fewer():
    labels = np.repeat([1, 8], 20)
    found = beside_published(metrics_table(np.eye(10)[labels], labels), CLASSES)
    of_all = found["class"] == "all"
    assert of_all.sum() == 2
    assert found[of_all]["published"].isna().all()
    assert found[found["metric"] == "rejection_50"]["published"].notna().all()
    labels = np.repeat(np.arange(10), 4)
    found = beside_published(metrics_table(np.eye(10)[labels], labels), CLASSES)
    assert found[found["class"] == "all"]["published"].tolist() == [0.861, 0.9877]


def test_the_text_says_value_interval_counts_and_the_published_value():
    table = pd.DataFrame(
        {
            "metric": ["rejection_50", "rejection_99"],
            "class": ["Hbb", "Hqql"],
            "value": [123.4, np.nan],
            "low": [100.0, np.nan],
            "high": [150.0, np.nan],
            "n": [10000, 10000],
            "survivors": pd.array([81, 3], "Int64"),
            "note": ["", "not measured (3 of 10000 jets survive; needs about 166667)"],
        }
    )
    _, hbb, hqql = results_text(beside_published(table, CLASSES)).splitlines()
    assert "123.4 [100, 150]" in hbb
    assert "81 of 10000" in hbb
    assert hbb.endswith("10638")
    assert "needs about 166667" in hqql
