import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from softjet.attention.queries import Jets
from softjet.attention.reading import JetReader
from softjet.attention.stream import Statistic, stream
from softjet.attention.sums import Ratio
from softjet.config.part import ParTModel
from softjet.jets.schema import COLUMNS, IDENTITIES, PARTICLE_COLUMNS, jet_schema
from softjet.part.model import ParticleTransformer

SHAPE = ParTModel(
    features="kin",
    classes=10,
    embed_dims=(16, 32, 16),
    pair_embed_dims=(8,),
    heads=2,
    blocks=3,
    class_blocks=2,
)


@pytest.fixture
def model():
    """A small network whose random weights are large enough to make attention uneven."""
    torch.manual_seed(0)
    network = ParticleTransformer(SHAPE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "in_proj" in name:
                weight.mul_(1.5)
    return network.eval()


def make_jets(lengths, size, seed=0, padding=0.0):
    """Features, vectors, mask of random jets, and what is known of them; padding holds `padding`."""
    generator = np.random.default_rng(seed)
    real = np.arange(size) < np.asarray(lengths)[:, None]
    draw = [generator.normal(size=(10, len(lengths), size)).astype(np.float32) for _ in range(2)]
    pt, eta, phi = np.exp(draw[0][0] + 2), 0.3 * draw[0][1], 0.3 * draw[0][2]
    vectors = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], 1)
    features = np.swapaxes(draw[1][:7], 0, 1)
    inputs = [np.where(real[:, None], part, padding).astype(np.float32) for part in (features, vectors)]
    known = Jets(
        jet=np.arange(len(lengths), dtype=np.int32),
        label=np.arange(len(lengths), dtype=np.int8) % 10,
        real=real,
        subjet=generator.integers(0, 3, real.shape).astype(np.int8),
        identity=generator.integers(0, 5, real.shape).astype(np.int8),
    )
    return (*(torch.from_numpy(part) for part in inputs), torch.from_numpy(real[:, None])), known


@pytest.fixture
def jets_of():
    return make_jets


@pytest.fixture
def jets():
    return make_jets([5, 9, 12, 1], 12)


@pytest.fixture
def jet_table():
    """Table in the schema of jets: 30 jets of 3 classes, 3 to 11 particles, not in the order of pT."""
    generator = np.random.default_rng(5)
    n = generator.integers(3, 12, 30)

    def lists(draw):
        return [draw(length) for length in n]

    columns = {field.name: np.ones(30) for field in jet_schema(truth=False)}
    columns |= {name: lists(lambda k: generator.normal(size=k)) for name in PARTICLE_COLUMNS}
    columns["part_energy"] = lists(lambda k: generator.uniform(5, 9, k))
    columns |= {name: lists(lambda k: np.zeros(k, bool)) for name in IDENTITIES}
    for jet, length in enumerate(n):
        for particle, identity in enumerate(generator.integers(0, 6, length)):
            if identity < 5:
                columns[IDENTITIES[identity]][jet][particle] = True
    columns |= {"label": np.repeat([0, 4, 8], 10), "entry": np.arange(30), "jet_energy": np.full(30, 90.0)}
    columns["source"] = pa.array(["a.root"] * 30).dictionary_encode()
    schema = jet_schema(truth=False)
    return pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in schema}, schema=schema)


@pytest.fixture
def truth_table(jet_table):
    """`jet_table` with what simulation knows of each particle, and tracks of which some are displaced."""
    generator = np.random.default_rng(6)
    lengths = [len(px) for px in jet_table["part_px"].to_pylist()]
    kinds = {
        "truth_part_prong": (-1, 0, 1), "truth_part_heavy": (0, 4, 5),
        "truth_part_mother": (7, 8, 9, 10),
        "truth_part_mother_pid": (21, 1, 111, -511, 2101, -3303, 3122, 411),
    }  # fmt: skip
    for name, values in kinds.items():
        lists = [generator.choice(values, n) for n in lengths]
        jet_table = jet_table.append_column(name, pa.array(lists, COLUMNS[name]))
    errors = pa.array([generator.choice([0.0, 0.2], n) for n in lengths], pa.list_(pa.float32()))
    return jet_table.set_column(jet_table.column_names.index("part_d0err"), "part_d0err", errors)


@pytest.fixture
def look(model, tmp_path):
    """Function that shows all layers of the jets of a table to a statistic: what it saw and gave, each."""

    def shown(statistic, table, change=lambda jets: jets):
        pq.write_table(table, tmp_path / "look.parquet")
        pairs = []

        def measure(seen):
            pairs.append((seen, statistic.measure(seen)))
            return [Ratio("none", seen.queries, seen.queries)]

        batches = map(change, JetReader([tmp_path / "look.parquet"], 100, 1, model.config, 9))
        stream(model, batches, {"look": Statistic(measure)}, 20, 1, 1e-4)
        return pairs

    return shown
