from functools import partial

import pyarrow.parquet as pq
import torch

from softjet.attention import tables
from softjet.attention.chance import tabulate
from softjet.attention.reading import JetReader
from softjet.attention.tables import attention_tables
from softjet.config.attention import Attention
from softjet.part.model import ParticleTransformer


def test_all_tables_come_from_one_pass_over_each_network(model, jet_table, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "tabulate", partial(tabulate, rows=50))
    pq.write_table(jet_table, tmp_path / "jets.parquet")
    torch.manual_seed(1)
    fresh = ParticleTransformer(model.config).eval()
    passes = dict.fromkeys((model, fresh), 0)
    for one in passes:
        one.register_forward_hook(lambda module, *_: passes.update({module: passes[module] + 1}))
    settings = Attention(batch_size=15, bootstrap=100)
    found, residual = attention_tables(model, fresh, [tmp_path / "jets.parquet"], settings)
    batches = len(list(JetReader([tmp_path / "jets.parquet"], 30, 1, model.config, 15)))
    assert list(passes.values()) == [batches, batches]
    assert 0 <= residual < 1e-5
    assert {"binary", "parts", "weights"} <= set(found)
    binary = found["binary"]
    row = binary[(binary.statistic == "largest") & (binary.layer == -1) & (binary.label == -1)].iloc[0]
    assert row.n_jets == 30
    assert row.value != row.untrained
