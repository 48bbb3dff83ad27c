import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from softjet.attention.attribution import FEATURES, attribution, shapley_values
from softjet.attention.focus import focus
from softjet.attention.partners import DISTANCES, GLUON, partners
from softjet.attention.planes import maps, profile
from softjet.jets.substructure import merge_partners
from softjet.part.pairs import dense_pair_features

DIQUARKS = (2101, -3303)
ALGORITHMS = ("kt", "cambridge_aachen")


def partner_lists(jets, jet, n):
    """Partners of each query of a jet, told one by one."""
    deta, dphi, mother, pid = (
        jets.column(name)[jet, :n].numpy()
        for name in ("part_deta", "part_dphi", "truth_part_mother", "truth_part_mother_pid")
    )
    momenta = jets.vectors[jet, :, :n].T.double().contiguous().numpy()
    distance = np.hypot(deta[:, None] - deta, dphi[:, None] - dphi)
    apart = distance + np.where(np.eye(n), np.inf, 0)
    hadron = (np.abs(pid) > 6) & ~np.isin(pid, (GLUON, *DIQUARKS))
    found = {
        "sibling": [
            {k for k in range(n) if k != q and mother[k] == mother[q] and hadron[k]} for q in range(n)
        ],
        "nearest": [{int(row.argmin())} for row in apart],
        "hardest": [{0} - {q} for q in range(n)],
    }
    for name in ALGORITHMS:
        found[name] = [{int(k)} for k in merge_partners(momenta, np.array([0, n]), name)]
    return found, np.searchsorted(np.float32(DISTANCES), distance.astype(np.float32), side="right")


def test_partners_and_their_null_are_what_each_query_gives_one_by_one(look, truth_table):
    for seen, ratios in look(partners(truth_table.column_names), truth_table)[1::4]:
        found = {ratio.name: ratio for ratio in ratios}
        for jet, n in enumerate(seen.jets.n.tolist()):
            keys = seen.key[jet, 1].tolist()
            lists, bins = partner_lists(seen.jets, jet, n)
            for name, of_query in lists.items():
                hits = queries = null = 0.0
                for query in range(n):
                    if keys[query] == query or not of_query[query]:
                        continue
                    same = [k for k in range(n) if k != query and bins[query, k] == bins[query, keys[query]]]
                    hits += keys[query] in of_query[query]
                    queries += 1
                    null += len(of_query[query].intersection(same)) / len(same)
                one = found[name]
                got = [float(value[jet, 1]) for value in (one.top, one.bottom, one.null)]
                assert got == pytest.approx([hits, queries, null], abs=1e-5), name


def test_siblings_need_truth(look, jet_table):
    names = [ratio.name for ratio in look(partners(jet_table.column_names), jet_table)[0][1]]
    assert names == ["kt", "cambridge_aachen", "nearest", "hardest"]


def by_orders(function, features, baseline):
    """Shapley values by going through all orders."""
    orders = list(itertools.permutations(range(4)))
    total = torch.zeros(*function(features).shape, 4)
    for order in orders:
        here = baseline.clone()
        for place in order:
            before = function(here)
            here[:, place] = features[:, place]
            total[..., place] += (function(here) - before) / len(orders)
    return total


@pytest.fixture
def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 12), nn.GELU(), nn.Linear(12, 2), nn.GELU())


@torch.no_grad()
def test_shapley_values_are_the_mean_over_orders_and_add_up(network):
    features, baseline = torch.randn(2, 30, 4)
    found = shapley_values(network, features, baseline)
    assert torch.allclose(found, by_orders(network, features, baseline), atol=1e-6)
    assert torch.allclose(found.sum(-1), network(features) - network(baseline), atol=1e-6)


@torch.no_grad()
def test_a_feature_that_a_function_does_not_use_gets_nothing(network):
    network[0].weight[:, 2] = 0
    features, baseline = torch.randn(2, 30, 4)
    found = shapley_values(network, features, baseline)
    assert (found[..., 2] == 0).all()
    assert (found[..., 1] != 0).any()


def test_contributions_are_those_of_the_winning_pairs(look, model, truth_table):
    seen, ratios = look(attribution(model), truth_table)[1]
    found = {ratio.name: ratio for ratio in ratios}
    parts = sum(found[f"shapley_{name}"].top for name in FEATURES)
    assert torch.allclose(parts, found["bias_rise"].top, atol=1e-4)
    features = dense_pair_features(seen.jets.vectors, model.config.pair_mass)
    for jet, n in enumerate(seen.jets.n.tolist()):
        of_jet, apart = features[jet, :n, :n], ~torch.eye(n, dtype=torch.bool)
        with torch.no_grad():
            baseline = model.pair_embed(of_jet[apart].mean(0, keepdim=True))[0]
        bias = seen.bias[jet, :, :n, :n] - baseline[:, None, None]
        row, key = torch.arange(n), seen.key[jet, 0, :n]
        others = key != row
        won = bias[0][row, key][others].sum()
        blindly = (bias[0] * apart).sum(1)[others].sum() / (n - 1)
        qk = seen.qk[jet, 0, :n, :n] - seen.qk[jet, 0, :n, :n].mean(1, keepdim=True)
        qk_blindly = (qk * apart).sum(1)[others].sum() / (n - 1)
        one, other = found["bias_rise"], found["qk_rise"]
        got = [one.top[jet, 0], one.null[jet, 0], one.bottom[jet, 0], other.top[jet, 0], other.null[jet, 0]]
        expected = [won, blindly, others.sum(), qk[row, key][others].sum(), qk_blindly]
        assert [float(x) for x in got] == pytest.approx([float(x) for x in expected], abs=1e-3)


def test_padding_enters_no_number(look, model, truth_table):
    def filled(value):
        def change(jets):
            features, vectors = (
                torch.where(jets.mask, part, value) for part in (jets.features, jets.vectors)
            )
            return replace(jets, features=features, vectors=vectors)

        return change

    columns = truth_table.column_names
    for statistic in (focus(columns), partners(columns), attribution(model), profile(), maps()):
        pairs = zip(*(look(statistic, truth_table, filled(value)) for value in (0, 7.0)), strict=True)
        for (_, here), (_, there) in pairs:
            for one, other in zip(here, there, strict=True):
                for name in ("top", "bottom", "null"):
                    assert torch.equal(getattr(one, name), getattr(other, name)), (one.name, name)
