"""The physics of simulated jets: sixty of each class."""

import awkward as ak
import numpy as np
import pytest
import uproot

from softjet.errors import InputError
from softjet.jets.events import delta_phi, delta_r
from softjet.jets.processes import PROCESSES
from softjet.jets.read import read_jetclass
from softjet.jets.schema import CLASSES, IDENTITIES, LABELS, TREE, TRUTH_PARTICLES
from softjet.jets.simulate import seed_of_collisions, simulate

MASSES = {"Wqq": 80.4, "Zqq": 91.2, "Hbb": 125.0, "Hcc": 125.0, "Hgg": 125.0, "Tbqq": 172.5}

every_class = pytest.mark.parametrize("name", CLASSES)


def distances(jets):
    return delta_r(jets.truth_prong_eta, jets.truth_prong_phi, jets.jet_eta[:, None], jets.jet_phi[:, None])


@every_class
def test_jets_are_the_sums_of_their_particles(simulated, name):
    jets = simulated(name)
    px, py, pz, e = (ak.sum(jets[f"part_{axis}"], axis=1) for axis in ("px", "py", "pz", "energy"))
    assert np.allclose(np.hypot(px, py), jets.jet_pt, rtol=1e-5)
    assert np.allclose(np.arctan2(py, px), jets.jet_phi, atol=1e-5)
    assert np.allclose(np.arcsinh(pz / np.hypot(px, py)), jets.jet_eta, atol=1e-5)
    assert np.allclose(e, jets.jet_energy, rtol=1e-5)
    assert np.all(ak.num(jets.part_px) == jets.jet_nparticles)


@every_class
def test_jets_are_in_the_window_and_belong_to_their_class(simulated, name):
    jets = simulated(name)
    assert len(jets) == 60
    assert np.all((jets.jet_pt > 500) & (jets.jet_pt < 1000) & (np.abs(jets.jet_eta) < 2))
    assert [int(ak.sum(jets[label])) for label in LABELS] == [
        60 * (label == f"label_{name}") for label in LABELS
    ]


@every_class
def test_particles_are_those_of_a_jet(simulated, name):
    jets = simulated(name)
    pt = np.hypot(jets.part_px, jets.part_py)
    assert ak.all(pt[:, :-1] >= pt[:, 1:])
    assert ak.all(sum(jets[identity] for identity in IDENTITIES) == 1)
    neutral = jets.part_isPhoton | jets.part_isNeutralHadron
    assert ak.all((jets.part_charge == 0) == neutral)
    assert ak.all(jets.part_d0err[neutral] == 0)
    assert ak.all(np.isfinite(jets.part_d0val) & np.isfinite(jets.part_dzval))
    eta = np.arcsinh(jets.part_pz / pt)
    assert np.allclose(
        ak.flatten(jets.part_deta), ak.flatten((eta - jets.jet_eta) * np.sign(jets.jet_eta)), atol=1e-4
    )
    assert np.allclose(
        ak.flatten(jets.part_dphi),
        delta_phi(
            ak.flatten(np.arctan2(jets.part_py, jets.part_px)),
            ak.flatten(ak.broadcast_arrays(jets.jet_phi, pt)[0]),
        ),
        atol=1e-4,
    )


@every_class
def test_prongs_are_within_the_jet(simulated, name):
    jets = simulated(name)
    process = PROCESSES[name]
    flavour = np.abs(jets.truth_prong_pid)
    lepton = (flavour == 11) | (flavour == 13)
    assert ak.all(distances(jets) < 0.8)
    assert ak.all(ak.sum(lepton, axis=1) == process.leptons)
    assert ak.all(ak.sum((flavour <= 5) | (flavour == 21), axis=1) == process.partons)
    if name != "QCD":
        assert ak.all(np.abs(jets.truth_parent_pid) == process.parent)
        assert ak.all(jets.aux_genpart_pid == jets.truth_parent_pid)


@pytest.mark.parametrize("name", MASSES)
def test_mass_peaks(simulated, name):
    """Half of the jets or more lie around the mass of what decays, and their median at it."""
    mass = simulated(name).jet_sdmass.to_numpy()
    near = mass[np.abs(mass / MASSES[name] - 1) < 0.2]
    assert len(near) > 0.5 * len(mass)
    assert np.median(near) == pytest.approx(MASSES[name], rel=0.06)


def test_parents_weigh_what_they_should(simulated):
    for name, mass in MASSES.items():
        assert np.median(simulated(name).truth_parent_mass) == pytest.approx(mass, rel=0.02)


def test_qcd_masses_fall(simulated):
    edges = np.array([0, 40, 80, 300])
    jets_per_gev = np.histogram(simulated("QCD").jet_sdmass, edges)[0] / np.diff(edges)
    assert np.all(np.diff(jets_per_gev) < 0)
    assert jets_per_gev[0] > 3 * jets_per_gev[1]


def test_b_hadrons_are_where_b_quarks_are(simulated):
    share = {name: np.mean(ak.any(simulated(name).truth_part_heavy == 5, axis=1)) for name in CLASSES}
    assert min(share[name] for name in ("Hbb", "Tbqq", "Tbl")) > 0.95
    assert max(share[name] for name in ("Hcc", "Wqq")) < 0.2
    assert np.mean(ak.any(simulated("Hcc").truth_part_heavy == 4, axis=1)) > 0.95


def test_tracks_of_b_hadrons_miss_the_beam(simulated):
    """Several times their uncertainty more often than the primary tracks of light prongs."""
    b, light = simulated("Hbb"), simulated("Wqq")
    from_b = b.truth_part_heavy == 5
    primary = ~light.truth_part_secondary
    missed = []
    for jets, chosen in ((b, from_b), (light, primary)):
        tracks = chosen & (jets.part_d0err > 0)
        missed.append(
            np.mean(np.abs(ak.flatten(jets.part_d0val[tracks])) > 3 * ak.flatten(jets.part_d0err[tracks]))
        )
    assert missed[0] > 0.4
    assert missed[1] < 0.02


@pytest.mark.parametrize("name", ["Hqql", "Tbl"])
def test_the_lepton_is_in_the_jet_and_known_by_its_prong(simulated, name):
    jets = simulated(name)
    flavour = np.abs(jets.truth_prong_pid)
    lepton = ak.argmax((flavour == 11) | (flavour == 13), axis=1)
    is_lepton = jets.part_isElectron | jets.part_isMuon
    found = ak.any(is_lepton & (jets.truth_part_prong == lepton), axis=1)
    assert np.mean(found) > 0.85
    charged = jets.part_charge[is_lepton & (jets.truth_part_prong == lepton)]
    true = -np.sign(ak.flatten(jets.truth_prong_pid[(flavour == 11) | (flavour == 13)]))
    assert np.all(ak.firsts(charged[found]) == true[found])


@pytest.mark.parametrize("name", ["Wqq", "Hbb", "Tbqq"])
def test_particles_lie_near_the_prong_they_descend_from(simulated, name):
    jets = simulated(name)
    prong = jets.truth_part_prong
    assert ak.mean(prong >= 0) > 0.85
    assert ak.all(prong < PROCESSES[name].prongs)
    pt = np.hypot(jets.part_px, jets.part_py)
    eta, phi = np.arcsinh(jets.part_pz / pt), np.arctan2(jets.part_py, jets.part_px)
    pair = [
        ak.cartesian([part, of], nested=True)
        for part, of in ((eta, jets.truth_prong_eta), (phi, jets.truth_prong_phi))
    ]
    distance = np.hypot(pair[0]["0"] - pair[0]["1"], delta_phi(pair[1]["0"], pair[1]["1"]))
    nearest = ak.argmin(distance, axis=2)
    weight = pt[prong >= 0]
    assert ak.sum(weight[(nearest == prong)[prong >= 0]]) > 0.8 * ak.sum(weight)


def test_photons_come_from_pi0_and_share_their_mother(simulated):
    jets = simulated("Hgg")
    photon = jets.part_isPhoton
    assert ak.mean(jets.truth_part_pi0[photon]) > 0.75
    assert ak.mean(jets.truth_part_pi0[jets.part_isChargedHadron]) < 0.02
    from_pi0 = photon & (jets.truth_part_mother_pid == 111)
    mothers = jets.truth_part_mother[from_pi0]
    repeats = [len(one) - len(set(one)) for one in ak.to_list(mothers)]
    assert sum(repeats) > 0
    assert max(max(np.unique(one, return_counts=True)[1], default=0) for one in ak.to_list(mothers)) == 2


def test_same_seed_same_arrays(tmp_path):
    """However many are asked for; another seed gives others."""
    for file, n_jets, seed in (("one", 30, 3), ("same", 8, 3), ("other", 8, 4)):
        simulate(tmp_path / f"{file}.root", "Zqq", n_jets, seed)
    one, same, other = (uproot.open(tmp_path / f"{f}.root")[TREE].arrays() for f in ("one", "same", "other"))
    assert ak.array_equal(one[:8], same)
    assert not ak.array_equal(one[:8].part_px, other.part_px)


def test_the_next_stage_reads_it_with_its_truth(simulated, tmp_path):
    simulate(tmp_path / "w.root", "Wqq", 5, 11)
    (table,) = read_jetclass([tmp_path / "w.root"])
    assert table["label"].to_pylist() == [CLASSES.index("Wqq")] * 5
    jets = simulated("Wqq")[:5]
    for name in ("part_px", "part_isPhoton", *TRUTH_PARTICLES, "truth_prong_pid"):
        assert table[name].to_pylist() == ak.to_list(jets[name])


@pytest.mark.parametrize("name", ["QCD", "Hgg"])
def test_no_two_jobs_of_a_class_have_the_same_collisions(name):
    """All shards of a dataset, those of the test split alone and those of another dataset's seed."""
    jobs = [seed * 10_000 + shard for seed in (1, 2, 800_002) for shard in range(10_000)]
    seeds = {seed_of_collisions(name, job) for job in jobs}
    assert len(seeds) == len(jobs)
    assert 1 <= min(seeds) <= max(seeds) <= 900_000_000


def test_classes_begin_their_collisions_apart():
    """By more than any shards: the same random numbers would make like showers."""
    starts = sorted(seed_of_collisions(name, 0) for name in CLASSES)
    assert np.diff(starts).min() > 20_000


@pytest.mark.parametrize(("name", "n_jets", "seed"), [("Hww", 5, 1), ("Hbb", 0, 1), ("Hbb", 5, -1)])
def test_bad_requests_are_refused_and_leave_nothing(tmp_path, name, n_jets, seed):
    with pytest.raises(InputError, match=r"jets\.root"):
        simulate(tmp_path / "jets.root", name, n_jets, seed)
    assert not list(tmp_path.iterdir())
