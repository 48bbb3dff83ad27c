import logging

import numpy as np
import pyarrow.parquet as pq

from softjet.attention.sample import (
    draw_background,
    draw_sample,
    identities,
    particle_lists,
    prongs_of,
    subjets,
)
from softjet.jets.features import model_inputs
from softjet.jets.schema import CLASSES, IDENTITIES


def files_of(table, folder):
    paths = [folder / "test_0.parquet", folder / "test_1.parquet"]
    pq.write_table(table.slice(0, 17), paths[0], row_group_size=4)
    pq.write_table(table.slice(17), paths[1], row_group_size=4)
    return paths


def test_equally_many_of_each_class_taking_turns_none_twice(jet_table, tmp_path):
    paths = files_of(jet_table, tmp_path)
    sample = draw_sample(paths, 20, seed=1)
    assert sample["label"].to_pylist() == [0, 4, 8] * 6
    assert len(set(sample["entry"].to_pylist())) == 18
    # each row is a whole row of the files: the entry tells which
    assert sample["part_px"].to_pylist() == jet_table.take(sample["entry"])["part_px"].to_pylist()
    assert sample.equals(draw_sample(paths, 20, seed=1))
    assert sample["entry"].to_pylist() != draw_sample(paths, 20, seed=2)["entry"].to_pylist()


def test_further_background_has_no_jet_of_the_sample(jet_table, tmp_path):
    paths = files_of(jet_table, tmp_path)
    sample = draw_sample(paths, 20, seed=1)
    further = draw_background(paths, CLASSES, sample, 3, seed=1)
    assert further["label"].to_pylist() == [0] * 3
    assert not set(further["entry"].to_pylist()) & set(sample["entry"].to_pylist())
    assert further["part_px"].to_pylist() == jet_table.take(further["entry"])["part_px"].to_pylist()
    assert len(draw_background(paths, CLASSES, sample, 100, seed=1)) == 10 - 6
    assert len(draw_background(paths, CLASSES, sample, 0, seed=1)) == 0
    assert len(draw_background(paths, CLASSES[1:], sample, 100, seed=1)) == 0


def test_the_smallest_class_limits_all_and_the_log_says_so(jet_table, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "softjet"):
        sample = draw_sample(files_of(jet_table, tmp_path), 300, seed=1)
    assert len(sample) == 30
    assert "10 jets a class instead of 100" in caplog.text


def test_particles_stand_in_the_models_order_cut_like_its_inputs(jet_table):
    _, vectors, mask = model_inputs(jet_table, "kin", 6)
    real = mask[:, 0]
    assert real.shape == (30, 6)
    assert np.array_equal(particle_lists(jet_table, "part_px", real), vectors[:, 0])
    found = identities(jet_table, real)
    for place, column in enumerate(IDENTITIES):
        assert np.array_equal(found == place, particle_lists(jet_table, column, real))
    assert (found == -1).any()


def test_as_many_subjets_as_the_decay_has_prongs(jet_table):
    _, vectors, mask = model_inputs(jet_table, "kin")
    label, real = jet_table["label"].to_numpy(), mask[:, 0]
    found = subjets(vectors, prongs_of(CLASSES)[label], real)
    n = real.sum(1)
    for prongs, of_class in ((1, 0), (4, 4), (3, 8)):
        jets = label == of_class
        assert np.array_equal(found[jets].max(1) + 1, np.minimum(prongs, n[jets]))
    assert (found[~real] == -1).all()
