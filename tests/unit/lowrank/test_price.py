"""Ranks chosen for parameters or for measured time."""

import math

import pandas as pd
import pytest
import torch
from method_settings import run
from small_network import SELECTION, SETTINGS, Network, batches, loss, network

from softjet.config.lowrank import Recipe
from softjet.errors import InputError
from softjet.lowrank import fuse, learn_ranks
from softjet.lowrank.budget import choose_ranks, possible_ranks
from softjet.lowrank.crossover import ranks_measured
from softjet.lowrank.factors import Factors
from softjet.lowrank.low_rank import LowRankLinear
from softjet.lowrank.price import PARAMETERS, Parameters, Times, dense_price
from softjet.lowrank.selection import matrix_shapes

DENSE = 100.0


def times_of(shapes, ratio=lambda share: 1 / share, low=lambda ratio: 0.99 * ratio, form="pair"):
    """A table as if the time of a form were a share of the dense one's, at every eighth of break-even."""
    rows = []
    for m, n in shapes:
        most = PARAMETERS.dense_from(m, n, form)
        for part in range(1, 9):
            found = ratio(part / 8)
            row = {"m": m, "n": n, "rank": max(1, round(most * part / 8)), "ratio": found, "low": low(found)}
            rows.append(row | {"form": form, "median_a": DENSE, "median_b": DENSE / found})
    return pd.DataFrame(rows)


def test_parameters_are_those_of_the_pair_up_to_break_even():
    assert [PARAMETERS(rank, 128, 512) for rank in (1, 102, 103, 128)] == [640, 65_280, 65_536, 65_536]
    assert PARAMETERS.dense_from(128, 512) == 103


def test_times_between_measured_ranks_are_interpolated():
    times = Times(times_of([(64, 64)]))
    assert [times(rank, 64, 64) for rank in (4, 8, 10)] == pytest.approx([12.5, 25, 31.25])


def test_from_the_first_rank_not_measured_faster_a_matrix_is_dense():
    table = times_of([(64, 64)], ratio=lambda share: 0.6 / share, low=lambda ratio: ratio - 0.01)
    times = Times(table)
    # 0.6 / share is above 1 for four eighths of 32, not for five.
    assert times.dense_from(64, 64) == 17
    assert [times(16, 64, 64), times(17, 64, 64)] == pytest.approx([100 * 0.5 / 0.6, DENSE])
    assert possible_ranks(64, 64, 4, 4, times) == [4, 8, 12, 16, 64]


def test_from_break_even_of_the_parameters_a_matrix_is_dense_however_fast_the_pair():
    times = Times(times_of([(64, 64)], ratio=lambda share: 2 / share))
    assert times.dense_from(64, 64) == PARAMETERS.dense_from(64, 64) == 32
    assert [times(31, 64, 64), times(32, 64, 64)] == pytest.approx([50 * 31 / 32, DENSE])


def test_a_faster_rank_behind_a_slower_one_does_not_count():
    table = times_of([(64, 64)])
    table.loc[table["rank"] == 8, "low"] = 0.98
    assert Times(table).dense_from(64, 64) == 5


def test_where_no_rank_pays_a_matrix_stays_dense():
    times = Times(times_of([(64, 64)], ratio=lambda share: 0.5))
    assert times.dense_from(64, 64) == 1
    assert possible_ranks(64, 64, 1, 8, times) == [64]


def test_time_never_falls_as_the_rank_rises():
    table = times_of([(64, 64)])
    table.loc[table["rank"] == 12, "ratio"] = 20.0
    times = Times(table)
    prices = [times(rank, 64, 64) for rank in range(1, 65)]
    assert prices == sorted(prices)
    # Measured to take 25 and 5: the same time for both, so that the larger costs nothing more.
    assert [times(rank, 64, 64) for rank in (4, 8, 12, 16)] == pytest.approx([12.5, 15, 15, 50])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.iloc[:0], "holds no shape"),
        (lambda table: table.assign(ratio=math.nan), "64 x 64: was too noisy"),
    ],
)
def test_a_table_that_tells_nothing_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Times(change(times_of([(64, 64)])))


def test_a_shape_that_was_not_measured_is_named():
    times = Times(times_of([(64, 64)]))
    with pytest.raises(InputError, match="32 x 64: was not measured as a pair"):
        times(4, 32, 64)
    with pytest.raises(InputError, match="64 x 64: was not measured as a pivot"):
        times(4, 64, 64, "pivot")


def test_a_pivot_form_may_pay_beyond_the_break_even_of_a_pair():
    times = Times(times_of([(64, 64)], form="pivot"))
    assert times.dense_from(64, 64, "pivot") == 57  # the last that is faster is measured at seven eighths
    assert times(32, 64, 64, "pivot") == pytest.approx(50)
    assert possible_ranks(64, 64, 16, 8, times, "pivot") == [16, 32, 48, 64]


def test_shapes_of_packed_matrices_count_apart():
    assert matrix_shapes(network(), SELECTION) == {(16, 16): 6, (32, 16): 2}


@pytest.mark.parametrize("form", ["pair", "pivot"])
@pytest.mark.parametrize("method", ["soft-threshold", "svd", "dense"])
def test_a_budget_of_time_is_met(tmp_path, method, form):
    shapes = matrix_shapes(network(), SELECTION)
    # Square matrices gain nothing by factors: all must come from the others.
    parts = times_of([(16, 16)], ratio=lambda _: 0.9, form=form), times_of([(32, 16)], form=form)
    times = Times(pd.concat(parts))
    model, _, ranks = run(method, tmp_path, of="time", keep=0.85, price=times, form=form)
    fuse(model)
    if method == "dense":
        assert ranks["dense"].all()
        return
    spent = sum(times(row["rank"], row["m"], row["n"], form) for _, row in ranks.iterrows())
    whole = DENSE * sum(shapes.values())
    assert 0.8 * whole < spent <= 0.85 * whole
    assert ranks.groupby("m")["dense"].all().to_dict() == {16: True, 32: False}
    kinds = {type(block.packed) is LowRankLinear for block in model.blocks}
    assert kinds == {False}


def tiled(rank):
    """Nanoseconds of a pair on a processor whose tiles are 16 wide: what is left of one costs two of them."""
    return 10.0 * (rank // 16 + 2 * (rank % 16 > 0))


def test_a_budget_of_time_in_multiples_is_priced_by_their_own_times(tmp_path):
    model, rows = Network(width=64), []
    for m, n in matrix_shapes(model, SELECTION):
        for rank in ranks_measured(m, n, 8, multiple=16):
            ratio = DENSE / tiled(rank)
            row = {"m": m, "n": n, "form": "pair", "rank": rank, "ratio": ratio, "low": ratio}
            rows.append(row | {"median_a": DENSE})
    times = Times(pd.DataFrame(rows))
    _, _, ranks = run("svd", tmp_path, model, of="time", keep=0.13, price=times, rank_multiple=16)
    assert set(ranks["rank"]) == {16, 32}  # and none dense
    assert [times(rank, m, n) for rank, m, n in ranks[["rank", "m", "n"]].to_numpy().tolist()] == [
        tiled(rank) for rank in ranks["rank"]
    ]


@pytest.mark.parametrize("seed", [4, 7])
def test_a_budget_of_all_time_leaves_all_dense_however_sums_round(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(12, 12), (12, 36), (36, 12), (24, 24)]
    rows = [
        row | {"median_a": 900 + 200 * torch.rand((), generator=generator, dtype=torch.float64).item()}
        for shape in shapes
        for row in times_of([shape]).to_dict("records")
    ]
    times = Times(pd.DataFrame(rows))
    factors = [Factors(torch.randn(*shape, generator=generator)) for shape in shapes for _ in range(4)]
    full = [min(f.shape) for f in factors]
    whole = dense_price(factors, times)
    for floor in (1, 2):
        assert choose_ranks(factors, whole, 1, floor, price=times) == full
        assert choose_ranks(factors, whole * (1 - 1e-6), 1, floor, price=times) != full


def test_a_budget_of_parameters_is_exact_however_large():
    class Millions(Parameters):
        def __call__(self, rank, m, n, form="pair"):
            return 1_000_000 * super().__call__(rank, m, n, form)

    factors = [Factors(torch.eye(24)) for _ in range(8)]
    whole = dense_price(factors, Millions())
    assert whole > 4e9
    assert choose_ranks(factors, whole, price=Millions()) == [24] * 8
    assert choose_ranks(factors, whole - 1, price=Millions()) != [24] * 8


def test_a_budget_of_time_without_times_is_refused(tmp_path):
    settings = SETTINGS.model_copy(update={"of": "time"})
    with pytest.raises(InputError, match="of: time needs the times"):
        learn_ranks(network(), SELECTION, batches, loss, settings, tmp_path)


def test_tables_of_embeddings_have_no_time():
    with pytest.raises(ValueError, match="a look-up costs no time"):
        Recipe(of="time", embeddings=True)
