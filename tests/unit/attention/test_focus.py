import numpy as np
import pytest
import torch

from softjet.attention.focus import focus, share_of_others


def lists(jets, name):
    """A column of a batch's jets in falling pT, jet by jet."""
    order = [np.argsort(-np.hypot(px, py), kind="stable") for px, py in zip(
        jets.table["part_px"].to_pylist(), jets.table["part_py"].to_pylist(), strict=True)]  # fmt: skip
    columns = jets.table[name].to_pylist()
    return [np.array(values)[place] for values, place in zip(columns, order, strict=True)]


def members(jets, jet):
    """Particles of each kind, told one by one."""
    column = {name: lists(jets, name)[jet] for name in jets.table.column_names if name[5:7] in ("is", "d0")}
    return {
        "hardest": np.arange(len(column["part_isMuon"])) == 0,
        "lepton": column["part_isElectron"] | column["part_isMuon"],
        "photon": column["part_isPhoton"],
        "displaced": (column["part_d0err"] > 0) & (np.abs(column["part_d0val"]) > 3 * column["part_d0err"]),
        "heavy": lists(jets, "truth_part_heavy")[jet] >= 4,
    }


def test_focus_is_what_each_pair_gives_one_by_one(look, truth_table):
    seen, ratios = look(focus(truth_table.column_names), truth_table)[2]
    found = {ratio.name: ratio for ratio in ratios}
    pt = seen.jets.vectors[:, :2].norm(dim=1).numpy()
    for jet, n in enumerate(seen.jets.n.tolist()):
        weights = seen.weights[jet, 1, :n, :n].numpy()
        for kind, member in members(seen.jets, jet).items():
            top = even = by_pt = whole = 0.0
            for query in range(n):
                others = np.arange(n) != query
                given = weights[query, others].sum()
                whole += given * member.any()
                top += weights[query, others & member].sum()
                even += given * (others & member).sum() / others.sum()
                by_pt += given * pt[jet, :n][others & member].sum() / pt[jet, :n][others].sum()
            one = found[f"to_{kind}"]
            expected = (one.top, one.bottom, one.null, found[f"to_{kind}_pt"].null)
            got = [float(value[jet, 1]) for value in expected]
            assert got == pytest.approx([top, whole, even, by_pt], abs=2e-5), kind


@pytest.mark.parametrize(("name", "column"), [("subjet", None), ("prong", "truth_part_prong")])
def test_attention_within_groups_is_counted_pair_by_pair(look, truth_table, name, column):
    for seen, ratios in look(focus(truth_table.column_names), truth_table)[:3]:
        found = {ratio.name: ratio for ratio in ratios}
        for jet, n in enumerate(seen.jets.n.tolist()):
            group = lists(seen.jets, column)[jet] if column else seen.jets.subjet[jet, :n].numpy()
            expected = np.zeros(6)
            for query in range(n) if len(set(group) - {-1}) > 1 else ():
                weights, key = seen.weights[jet, 0, query, :n].numpy(), int(seen.key[jet, 0, query])
                some = (np.arange(n) != query) & (group >= 0) & (group[query] >= 0)
                same = some & (group == group[query])
                chance = same.sum() / max(1, some.sum())
                mass = weights[some].sum()
                expected += [
                    weights[same].sum(),
                    mass,
                    mass * chance,
                    same[key],
                    some[key],
                    some[key] * chance,
                ]
            ratios_of = (found[f"mass_{name}"], found[f"argmax_{name}"])
            got = [float(v[jet, 0]) for one in ratios_of for v in (one.top, one.bottom, one.null)]
            assert got == pytest.approx(expected, abs=2e-5)


def test_even_attention_gives_the_null(look, truth_table, model):
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "out_proj"):
                for name, weight in module.named_parameters():
                    if "in_proj" in name:
                        weight.zero_()
        for weight in model.pair_embed.parameters():
            weight.zero_()
    for _, ratios in look(focus(truth_table.column_names), truth_table):
        for ratio in ratios:
            if ratio.name.startswith(("to_", "mass_")) and not ratio.name.endswith("_pt"):
                assert torch.allclose(ratio.top, ratio.null, atol=1e-5), ratio.name


def test_what_a_table_does_not_tell_is_absent(look, jet_table):
    names = {r.name for r in look(focus(jet_table.column_names), jet_table)[0][1]}
    assert {"to_lepton", "to_displaced", "mass_subjet"} <= names
    assert not names & {"to_heavy", "mass_prong", "argmax_prong"}
    bare = set(jet_table.column_names) - {"part_isMuon", "part_d0err"}
    names = {r.name for r in look(focus(bare), jet_table)[0][1]}
    assert "to_photon" in names
    assert not names & {"to_lepton", "to_displaced"}


def test_jets_in_one_subjet_do_not_count(look, truth_table):
    seen, ratios = look(focus(truth_table.column_names), truth_table)[0]
    whole = {ratio.name: ratio.bottom for ratio in ratios}["mass_subjet"]
    one = torch.from_numpy(seen.jets.label == 0)  # QCD has one prong
    assert (whole[one] == 0).all()
    assert (whole[~one] > 0).any()


def test_shares_of_others_leave_the_query_out():
    member, worth = torch.tensor([[[1.0, 0, 1, 0]]]), torch.tensor([[4.0, 2, 2, 0]])
    assert share_of_others(member, worth)[0, 0].tolist() == pytest.approx([0.5, 1, 2 / 3, 0.75])
    assert share_of_others(torch.ones(1, 1, 1), torch.ones(1, 1)).item() == 0
