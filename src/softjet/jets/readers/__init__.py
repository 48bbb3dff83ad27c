"""One module a file format: how its jets become tables of the schema, in bounded memory."""
