"""Section of the configuration about pairs of models that are compared."""

from softjet.config.section import Section


class Comparison(Section):
    """Two runs of one dataset, compared by a paired bootstrap on the same test jets."""

    reference: str
    """Name of the run that changes are counted from."""
    other: str
    """Name of the run beside it."""
