"""The jet table: column names, types and units.

Units: GeV for momenta, energies and masses; mm for impact parameters and lengths; radians for phi;
eta is pseudorapidity. JetClass's ROOT tree has the same names for `jet_*` and `part_*`.
"""

import pyarrow as pa

CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
"""JetClass's classes in its own order: a jet's label is its place here."""

TREE = "tree"
"""Name of the ROOT tree."""

JET_COLUMNS = (
    "jet_pt", "jet_eta", "jet_phi", "jet_energy", "jet_nparticles", "jet_sdmass",
    "jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4",
)  # fmt: skip
"""One number a jet, float32."""

PARTICLE_COLUMNS = (
    "part_px", "part_py", "part_pz", "part_energy", "part_deta", "part_dphi",
    "part_d0val", "part_d0err", "part_dzval", "part_dzerr", "part_charge",
)  # fmt: skip
"""One float32 a particle; `part_deta` is (eta - jet_eta) times the sign of jet_eta, as in JetClass."""

IDENTITIES = (
    "part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon",
)  # fmt: skip
"""One bool a particle."""

LABELS = tuple(f"label_{name}" for name in CLASSES)
"""One-hot label branches of the ROOT tree."""

TRUTH_JET = {
    "truth_parent_pid": "int32",
    "truth_parent_pt": "float32",
    "truth_parent_eta": "float32",
    "truth_parent_phi": "float32",
    "truth_parent_mass": "float32",
}
"""Of the heavy particle (for QCD: the hard parton) that the jet is matched to; simulation only."""

TRUTH_PRONGS = {
    "truth_prong_pid": "int32",
    "truth_prong_pt": "float32",
    "truth_prong_eta": "float32",
    "truth_prong_phi": "float32",
    "truth_prong_energy": "float32",
}
"""Lists over the prongs: the quarks, gluons and leptons that the heavy particle decays to."""

TRUTH_PARTICLES = {
    "truth_part_prong": "int8",
    "truth_part_heavy": "int8",
    "truth_part_pi0": "bool",
    "truth_part_secondary": "bool",
    "truth_part_mother": "int32",
    "truth_part_mother_pid": "int32",
}
"""Lists over the particles of the jet.

prong: place in the `truth_prong_*` lists of the prong it descends from, -1 for none; heavy: 5 with a
b hadron among its ancestors, else 4 with a c hadron, else 0; pi0: it comes from a pi0; secondary: it was
made more than 0.01 mm from the collision; mother: number of its mother in the event (siblings share it)
and her PDG identity. A tower's truth is that of the particle that gave it most energy.
"""

_ARROW = {"float32": pa.float32(), "int8": pa.int8(), "int32": pa.int32(), "bool": pa.bool_()}


def jet_schema(truth: bool) -> pa.Schema:
    """Arrow schema of the jet table.

    Parameters
    ----------
    truth : bool
        With the `truth_*` columns that only simulation knows.
    """
    fields = [pa.field("label", pa.int8())]
    fields += [pa.field(name, pa.float32()) for name in JET_COLUMNS]
    fields += [pa.field(name, pa.list_(pa.float32())) for name in PARTICLE_COLUMNS]
    fields += [pa.field(name, pa.list_(pa.bool_())) for name in IDENTITIES]
    if truth:
        fields += [pa.field(name, _ARROW[kind]) for name, kind in TRUTH_JET.items()]
        fields += [pa.field(n, pa.list_(_ARROW[k])) for n, k in (TRUTH_PRONGS | TRUTH_PARTICLES).items()]
    fields += [pa.field("source", pa.dictionary(pa.int32(), pa.string())), pa.field("entry", pa.int64())]
    return pa.schema(fields)
