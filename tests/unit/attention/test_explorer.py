import base64
import json
import re
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from softjet.attention.dataset import TABLES, record_dataset
from softjet.config.attention import Attention
from softjet.errors import InputError
from softjet.figures.explorer import STEP, jet_facts, pack_jet, write_explorer
from softjet.jets.schema import JETCLASS, table_facts

JETS = 6


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def unpack(text, step):
    """What the page's script does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    return step * np.ascontiguousarray(planes.T).view("<i2").ravel()


def logits(scale, n=7, layers=2, heads=3):
    generator = np.random.default_rng(1)
    qk = scale * generator.normal(size=(layers, heads, n, n))
    return qk, generator.normal(size=(heads, n, n))


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_logits_come_back_within_half_a_step(scale):
    qk, bias = logits(scale)
    packed = pack_jet(qk, bias, softmax(qk + bias))
    back = unpack(packed.text, packed.step)
    assert_allclose(back[: qk.size].reshape(qk.shape), qk, atol=packed.step / 2, rtol=0)
    assert_allclose(back[qk.size :].reshape(bias.shape), bias, atol=packed.step / 2, rtol=0)
    assert packed.step == STEP or (scale == 1000 and packed.step > STEP)


def test_weights_are_those_recorded_within_the_resolution_said():
    qk, bias = logits(1.0)
    weights = softmax(qk + bias)
    packed = pack_jet(qk, bias, weights)
    back = unpack(packed.text, packed.step)
    again = softmax(back[: qk.size].reshape(qk.shape) + back[qk.size :].reshape(bias.shape))
    assert np.abs(again - weights).max() == pytest.approx(packed.difference, rel=1e-6)
    # Two parts, each half a step off, change a weight w by at most 2 w (1 - w) times that.
    assert 0 < packed.difference < STEP / 2


def test_weights_of_other_logits_show_in_the_difference():
    qk, bias = logits(1.0)
    assert pack_jet(qk, bias, softmax(qk)).difference > 0.1


@pytest.fixture
def tables(model, jet_table, tmp_path):
    """Maps and particles of six recorded jets, and facts about them."""
    settings = Attention(jets=10, maps=JETS, batch_size=4)
    paths = {name: tmp_path / f"{name}.parquet" for name in TABLES}
    sample = jet_table.take([0, 10, 20, 1, 11, 21, 2])
    record_dataset(model, sample, settings, paths)
    facts = jet_facts(sample.slice(0, JETS), range(JETS), np.eye(10, dtype=np.float32)[[3] * JETS])
    return pd.read_parquet(paths["maps"]), pd.read_parquet(paths["particles"]), facts


def write(folder, maps, particles, facts):
    write_explorer(folder / "page.html", "small on a & b", maps, particles, facts)
    page = (folder / "page.html").read_text(encoding="utf-8")
    index = json.loads(re.search(r'id="index">(.*?)</script>', page)[1])
    packed = dict(re.findall(r'id="jet-(\d+)">(.*?)</script>', page))
    return page, index, [packed[str(place)] for place in range(len(index["jets"]))]


def test_particles_and_maps_stand_in_the_order_of_the_tables(tables, tmp_path):
    maps, particles, facts = tables
    # Rows in another order must change nothing.
    shuffled = maps.sample(frac=1, random_state=2), particles.sample(frac=1, random_state=3), facts[::-1]
    _, index, packed = write(tmp_path, *shuffled)
    assert [jet["jet"] for jet in index["jets"]] == list(range(JETS))
    for jet, text in zip(index["jets"], packed, strict=True):
        own = particles[particles.jet == jet["jet"]].sort_values("particle")
        assert_allclose(jet["particles"]["pt"], own.pt, atol=1e-3)
        assert jet["particles"]["subjet"] == own.subjet.tolist()
        (layers, heads), n = index["shape"], jet["n"]
        qk = unpack(text, jet["step"])[: layers * heads * n * n].reshape(layers, heads, n, n)
        row = maps[(maps.jet == jet["jet"]) & (maps.layer == 1) & (maps["head"] == 1)].iloc[0]
        assert_allclose(qk[1, 1].ravel(), np.asarray(row.qk, float), atol=STEP / 2 + 1e-9)


def test_softmax_of_what_the_page_holds_is_what_was_recorded(tables, tmp_path):
    maps, _, _ = tables
    _, index, packed = write(tmp_path, *tables)
    assert 0 < index["difference"] < STEP
    (layers, heads), jet = index["shape"], index["jets"][2]
    n = jet["n"]
    values = unpack(packed[2], jet["step"]).reshape(layers * heads + heads, n, n)
    for row in maps[maps.jet == 2].itertuples():
        again = softmax(values[row.layer * heads + row.head] + values[layers * heads + row.head])
        assert_allclose(again.ravel(), np.asarray(row.weights, float), atol=index["difference"] + 1e-9)


def test_facts_of_a_jet(tables, jet_table, tmp_path):
    _, index, _ = write(tmp_path, *tables)
    jet = index["jets"][1]
    assert (jet["label"], jet["source"], jet["entry"]) == (4, "a.root", 10)
    assert (jet["predicted"], jet["probability"]) == ("Hgg", 1)
    # Energy 90, pT 1, eta 1 in the fixture.
    assert jet["mass"] == pytest.approx(np.sqrt(90**2 - np.cosh(1) ** 2))
    assert jet["sdmass"] == 1


def test_facts_that_are_not_known_are_left_out(tables, tmp_path):
    maps, particles, facts = tables
    _, index, _ = write(tmp_path, maps, particles, facts[["jet", "source", "entry"]])
    assert not {"pt", "mass", "predicted"} & set(index["jets"][0])


def test_a_network_of_other_classes_makes_no_prediction_here(jet_table):
    facts = jet_facts(jet_table.slice(0, 1), [0], np.ones((1, 2), np.float32))
    assert "predicted" not in facts


def test_jets_of_two_classes_have_their_own_names(tables, jet_table, tmp_path):
    maps, particles, _ = tables
    told = jet_table.replace_schema_metadata(replace(JETCLASS, classes=("background", "Top")).metadata)
    facts = jet_facts(told.slice(0, JETS), range(JETS), np.eye(2, dtype=np.float32)[[1] * JETS])
    assert set(facts.predicted) == {"Top"}
    maps = maps.assign(label=maps.jet % 2)
    write_explorer(tmp_path / "page.html", "top", maps, particles, facts, ("background", "Top"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    index = json.loads(re.search(r'id="index">(.*?)</script>', page)[1])
    assert index["classes"] == ["background", "Top"]
    assert [index["classes"][jet["label"]] for jet in index["jets"]] == ["background", "Top"] * 3


def test_recorded_maps_tell_their_classes(model, jet_table, tmp_path):
    classes = tuple(f"kind {place}" for place in range(10))
    told = jet_table.replace_schema_metadata(replace(JETCLASS, classes=classes).metadata)
    paths = {name: tmp_path / f"{name}.parquet" for name in TABLES}
    record_dataset(model, told.slice(0, 3), Attention(maps=2), paths)
    for name in ("maps", "particles"):
        assert table_facts(pq.read_schema(paths[name])).classes == classes


def test_page_opens_with_a_jet_of_several_subjets(tables, tmp_path):
    _, index, _ = write(tmp_path, *tables)
    assert max(index["jets"][0]["particles"]["subjet"]) == 0
    assert index["first"] == 1


def test_file_names_are_data(tables, tmp_path):
    maps, particles, facts = tables
    name = '</script><b>"&'
    page, index, _ = write(tmp_path, maps, particles, facts.assign(source=name))
    assert index["jets"][0]["source"] == name
    assert "<b>" not in page.split('id="index"')[1].split("</script>")[0]
    assert "small on a &amp; b" in page


def test_page_needs_nothing_else(tables, tmp_path):
    page, _, _ = write(tmp_path, *tables)
    assert not re.search(r"""\b(?:src|href)\s*=|@import|url\(""", page)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_no_jet_is_said_in_one_line(tables, tmp_path):
    maps, particles, facts = tables
    with pytest.raises(InputError, match=r"attention\.maps"):
        write_explorer(tmp_path / "page.html", "none", maps[:0], particles, facts)
