"""Batches of several sizes, to be timed one beside the other."""

import logging
from collections.abc import Iterable, Iterator

from softjet.jets.batch import Batch
from softjet.jets.batches import JetLoader

log = logging.getLogger(__name__)


def median_batches(loaders: Iterable[JetLoader]) -> Iterator[Batch]:
    """The median batch of each loader, but one alone of those that come out with as many jets.

    Loaders of more jets a batch than there are jets all give the same batch.

    Parameters
    ----------
    loaders : iterable of JetLoader
        Of the same jets, with several batch sizes.
    """
    seen = set[int]()
    for loader in loaders:
        batch = loader.median_batch()
        jets = len(batch.labels)
        if jets in seen:
            log.warning(
                "batches of %d jets are left out: the jets fill %d, which are timed", loader.batch_size, jets
            )
            continue
        seen.add(jets)
        yield batch
