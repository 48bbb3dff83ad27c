"""Jets: simulation, readers, table schema, features, substructure and batches."""
