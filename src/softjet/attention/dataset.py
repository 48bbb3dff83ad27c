"""Record the attention of a network on a sample of jets, batch by batch, into tables."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from softjet.attention.queries import SCHEMA as QUERIES
from softjet.attention.queries import Jets, nulls, query_table
from softjet.attention.recording import Recording, record
from softjet.attention.sample import identities, particle_lists, prongs_of, subjets
from softjet.config.attention import Attention
from softjet.config.part import ParTModel
from softjet.jets.features import model_inputs
from softjet.jets.schema import table_facts
from softjet.part.model import ParticleTransformer
from softjet.progress import Progress
from softjet.provenance.files import whole_file

JETS = pa.schema(
    [
        ("jet", pa.int32()),
        ("label", pa.int8()),
        ("source", pa.string()),
        ("entry", pa.int64()),
        ("n", pa.int16()),
        ("residual", pa.float32()),
    ]
)
"""A jet of the sample; residual is the largest of recording.Layer in it, over all layers."""

_MAP = pa.list_(pa.float16())
MAPS = pa.schema(
    [
        ("jet", pa.int32()),
        ("label", pa.int8()),
        ("layer", pa.int8()),
        ("head", pa.int8()),
        ("n", pa.int16()),
        ("weights", _MAP),
        ("qk", _MAP),
        ("bias", _MAP),
    ]
)
"""A layer and head of a jet kept whole: n * n numbers, row by row (a row is a query)."""

PARTICLES = pa.schema(
    [
        ("jet", pa.int32()),
        ("label", pa.int8()),
        ("particle", pa.int16()),
        ("deta", pa.float32()),
        ("dphi", pa.float32()),
        ("pt", pa.float32()),
        ("identity", pa.int8()),
        ("subjet", pa.int8()),
    ]
)
"""A particle of a jet whose maps are kept; pt in GeV."""

TABLES = {"queries": QUERIES, "jets": JETS, "maps": MAPS, "particles": PARTICLES}


@dataclass(frozen=True)
class Batch:
    """A batch of the sample: the rows of the jet table, the model's inputs, and what is known of the jets."""

    table: pa.Table
    inputs: tuple[Tensor, Tensor, Tensor]
    jets: Jets


def record_dataset(
    model: ParticleTransformer,
    sample: pa.Table,
    settings: Attention,
    outputs: Mapping[str, str | Path],
) -> float:
    """Record the attention of a sample into Parquet tables, in memory bounded by a batch.

    Parameters
    ----------
    model : ParticleTransformer
        Trained, or with random weights as a null.
    sample : Table
        Jets, by `softjet.attention.sample.draw_sample`.
    settings : Attention
        Batch size, number of maps, largest residual accepted, seed.
    outputs : mapping of str to path
        Where each of queries, jets, maps and particles goes.

    Returns
    -------
    float
        Largest residual (`softjet.attention.recording.Layer`) of all jets and layers.

    Raises
    ------
    ArithmeticError
        A residual is above the bound; no table is written.
    """
    known: list[pa.Table] = []
    metadata = table_facts(sample.schema).metadata
    with _writers(outputs, metadata) as write, Progress(len(sample), "record attention", "jets") as progress:
        for rows in _by_length(sample, settings.batch_size):
            batch = prepare(sample.take(rows), rows, model.config)
            recording = record(model, *batch.inputs)
            recording.check(settings.residual)
            random = nulls(recording, batch.jets, settings.seed)
            write["queries"].write_table(query_table(recording, random, batch.jets))
            for place in map(int, np.flatnonzero(batch.jets.jet < settings.maps)):
                write["maps"].write_table(jet_maps(recording, batch.jets, place))
                write["particles"].write_table(jet_particles(batch, place))
            known.append(jet_rows(batch, recording))
            progress.advance(len(rows))
        jets = pa.concat_tables(known).sort_by("jet")
        write["jets"].write_table(jets)
    return float(pc.max(jets["residual"]).as_py())


def prepare(table: pa.Table, places: NDArray[np.int64], shape: ParTModel) -> Batch:
    """Inputs of the model for some jets, and the truth about their particles.

    Parameters
    ----------
    table : Table
        B jets.
    places : (B,)
        Their places in the sample.
    shape : ParTModel
        Shape of the model: its feature set, and how many particles it sees.
    """
    inputs, vectors, mask = model_inputs(table, shape.features, shape.max_particles)
    label, real = table["label"].to_numpy().copy(), mask[:, 0]
    jets = Jets(
        jet=places.astype(np.int32),
        label=label,
        real=real,
        subjet=subjets(vectors, prongs_of(table_facts(table.schema).classes)[label], real),
        identity=identities(table, real),
    )
    return Batch(table, (torch.from_numpy(inputs), torch.from_numpy(vectors), torch.from_numpy(mask)), jets)


def jet_rows(batch: Batch, recording: Recording) -> pa.Table:
    """Rows of the jets table for a batch."""
    worst = torch.stack(list(recording.residuals.values())).amax(0).numpy()
    n = batch.jets.real.sum(1)
    source = batch.table["source"].cast(pa.string())
    columns = [batch.jets.jet, batch.jets.label, source, batch.table["entry"], n, worst]
    return pa.table(columns, names=JETS.names).cast(JETS)


def jet_maps(recording: Recording, jets: Jets, place: int) -> pa.Table:
    """Rows of the maps table for one jet of a batch: every layer and head."""
    real = torch.from_numpy(jets.real[place])
    n, (layers, heads) = int(real.sum()), (len(recording.qk), recording.bias.shape[1])
    columns: dict[str, object] = {
        "layer": np.repeat(np.arange(layers), heads),
        "head": np.tile(np.arange(heads), layers),
    }
    columns |= {name: np.full(layers * heads, value) for name, value in
                (("jet", jets.jet[place]), ("label", jets.label[place]), ("n", n))}  # fmt: skip
    stacks = {"weights": recording.weights, "qk": recording.qk, "bias": [recording.bias] * layers}
    for name, stack in stacks.items():
        kept = torch.stack([layer[place][:, real][:, :, real] for layer in stack])
        flat = pa.array(kept.half().numpy().ravel())
        columns[name] = pa.ListArray.from_arrays(np.arange(layers * heads + 1) * n * n, flat)
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in MAPS], schema=MAPS)


def jet_particles(batch: Batch, place: int) -> pa.Table:
    """Rows of the particles table for one jet of a batch."""
    real = batch.jets.real[place]
    one, n = batch.table.slice(place, 1), int(real.sum())
    px, py = batch.inputs[1][place, :2].numpy()[:, real]
    columns = {
        "jet": np.full(n, batch.jets.jet[place]),
        "label": np.full(n, batch.jets.label[place]),
        "particle": np.arange(n),
        "deta": particle_lists(one, "part_deta", real[None, real])[0],
        "dphi": particle_lists(one, "part_dphi", real[None, real])[0],
        "pt": np.hypot(px, py),
        "identity": batch.jets.identity[place, real],
        "subjet": batch.jets.subjet[place, real],
    }
    return pa.table(columns).cast(PARTICLES)


def _by_length(sample: pa.Table, size: int) -> Iterator[NDArray[np.int64]]:
    """Places of the sample in batches of jets of near-equal length, which keeps padding small."""
    order = np.argsort(pc.list_value_length(sample["part_px"]).to_numpy(), kind="stable")
    yield from (order[first : first + size] for first in range(0, len(order), size))


@contextmanager
def _writers(
    outputs: Mapping[str, str | Path], metadata: Mapping[str, str]
) -> Iterator[dict[str, pq.ParquetWriter]]:
    """A Parquet writer a table; all files appear together when the block succeeds."""
    with ExitStack() as files:
        partials = {name: files.enter_context(whole_file(outputs[name])) for name in TABLES}
        yield {
            name: files.enter_context(_writer(partials[name], TABLES[name].with_metadata(dict(metadata))))
            for name in TABLES
        }


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Floats split into their bytes and all else in dictionaries: a third smaller than plain."""
    floats = [field.name for field in schema if pa.types.is_float32(field.type)]
    others = [field.name for field in schema if pa.types.is_integer(field.type)]
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=others, use_byte_stream_split=floats
    )
