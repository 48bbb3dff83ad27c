"""Jets: simulation, readers, table schema, features, substructure and batches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["substructure"],
    submod_attrs={
        "read": ["read_jetclass", "read_parquet", "read_quark_gluon", "read_top_landscape"],
        "features": ["model_inputs"],
        "batches": ["JetLoader"],
    },
)
