"""The jet table: column names, types and units, and what its metadata says of the format it comes from.

Units: GeV for momenta, energies and masses; mm for impact parameters and lengths; radians for phi;
eta is pseudorapidity. JetClass's ROOT tree has the same names for `jet_*` and `part_*`. A column that a
format does not know is absent.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from softjet.errors import InputError

CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
"""JetClass's classes in its own order: a jet's label is its place here."""

TREE = "tree"
"""Name of the ROOT tree."""

JET_COLUMNS = (
    "jet_pt", "jet_eta", "jet_phi", "jet_energy", "jet_nparticles", "jet_sdmass",
    "jet_tau1", "jet_tau2", "jet_tau3", "jet_tau4",
)  # fmt: skip
"""One number a jet, float32."""

JET_OBSERVABLES = ("jet_c2", "jet_d2", "jet_ptd")
"""Energy-correlation ratios and pT dispersion, one float32 a jet; ROOT files need not have them."""

PARTICLE_COLUMNS = (
    "part_px", "part_py", "part_pz", "part_energy", "part_deta", "part_dphi",
    "part_d0val", "part_d0err", "part_dzval", "part_dzerr", "part_charge",
)  # fmt: skip
"""One float32 a particle; `part_deta` is (eta - jet_eta) times the sign of jet_eta, as in JetClass."""

IDENTITIES = (
    "part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon",
)  # fmt: skip
"""One bool a particle."""

PARTICLE_ID = "part_pid"
"""PDG identity, one int32 a particle, where the format knows it."""

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

MOST_CLASSES = 127
"""Labels are int8."""

ALL_CLASSES = "all"
"""What tables call all classes together."""

_NAME = re.compile(r"[\w.+-][\w.+ -]{0,63}")
"""Of a class or format: it stands in the report, in figures and in tables."""

_ARROW = {"float32": pa.float32(), "int8": pa.int8(), "int32": pa.int32(), "bool": pa.bool_()}


def _column_types() -> dict[str, pa.DataType]:
    """Type of every column there is, in the order of the table."""
    types = {"label": pa.int8()}
    types |= dict.fromkeys((*JET_COLUMNS, *JET_OBSERVABLES), pa.float32())
    types |= dict.fromkeys(PARTICLE_COLUMNS, pa.list_(pa.float32()))
    types |= {PARTICLE_ID: pa.list_(pa.int32())}
    types |= dict.fromkeys(IDENTITIES, pa.list_(pa.bool_()))
    types |= {name: _ARROW[kind] for name, kind in TRUTH_JET.items()}
    types |= {name: pa.list_(_ARROW[kind]) for name, kind in (TRUTH_PRONGS | TRUTH_PARTICLES).items()}
    return types | {"source": pa.dictionary(pa.int32(), pa.string()), "entry": pa.int64()}


COLUMNS = _column_types()
"""Arrow type of every column, in the order of the table."""


@dataclass(frozen=True)
class JetFacts:
    """What a format says of its jets; it stands in the metadata of every table and file.

    Attributes
    ----------
    classes : tuple of str
        A jet's label is a place in it.
    angle : str
        "pseudorapidity" or "rapidity": what the format gives of a particle. `jet_eta` and `part_deta` are
        pseudorapidities in every table.
    massless : bool
        Whether the format takes all particles for massless.
    format : str
        "jetclass", "top_landscape", "quark_gluon" or another name, for people.
    """

    classes: tuple[str, ...]
    angle: str
    massless: bool
    format: str

    @property
    def metadata(self) -> dict[str, str]:
        """As Arrow keeps it."""
        massless = "yes" if self.massless else "no"
        return {
            "classes": ",".join(self.classes),
            "angle": self.angle,
            "massless": massless,
            "format": self.format,
        }


JETCLASS = JetFacts(CLASSES, "pseudorapidity", False, "jetclass")
"""Of JetClass's files, published or simulated."""


def table_facts(schema: pa.Schema, where: object = "jet table") -> JetFacts:
    """Read what the metadata of a jet table says; what it does not say is as in JetClass.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of a table, or of a Parquet file (`pyarrow.parquet.read_schema`).
    where : object
        What an error names.

    Raises
    ------
    InputError
        Where the metadata holds another word than those of `JetFacts`.
    """
    found = (schema.metadata or {}).items()
    said = {key.decode(): value.decode(errors="replace") for key, value in found if _is_fact(key)}
    words = JETCLASS.metadata | said
    for key, allowed in (("angle", ("pseudorapidity", "rapidity")), ("massless", ("yes", "no"))):
        if words[key] not in allowed:
            problem = f"is {words[key]!r} in the metadata; write {' or '.join(allowed)}"
            raise InputError(where, key, problem)
    classes = tuple(words["classes"].split(","))
    if len(set(classes)) != len(classes) or not all(classes) or not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(where, "classes", "in the metadata are not 2 to 127 different comma-separated names")
    if ALL_CLASSES in classes:
        problem = f"in the metadata has a class {ALL_CLASSES!r}, which tables call all of them; rename it"
        raise InputError(where, "classes", problem)
    for key, names in (("classes", classes), ("format", (words["format"],))):
        if odd := [name for name in names if not _NAME.fullmatch(name)]:
            problem = f"{odd[0]!r} in the metadata is no name of letters, digits and spaces; rename it"
            raise InputError(where, key, problem)
    return JetFacts(classes, words["angle"], words["massless"] == "yes", words["format"])


def table_schema(names: Collection[str], facts: JetFacts) -> pa.Schema:
    """Arrow schema of a table that has these columns, in the table's order, with the facts as metadata."""
    return pa.schema([(name, kind) for name, kind in COLUMNS.items() if name in names], facts.metadata)


def jet_schema(truth: bool) -> pa.Schema:
    """Arrow schema of the table that a JetClass file gives.

    Parameters
    ----------
    truth : bool
        With the `truth_*` columns that only simulation knows.
    """
    unknown = {*JET_OBSERVABLES, PARTICLE_ID}
    if not truth:
        unknown |= {*TRUTH_JET, *TRUTH_PRONGS, *TRUTH_PARTICLES}
    return table_schema(set(COLUMNS) - unknown, JETCLASS)


def _is_fact(key: bytes) -> bool:
    return key in (b"classes", b"angle", b"massless", b"format")
