"""Tables of a small dataset, as the chapter about it reads them."""

import pandas as pd


def write_counts(results, classes):
    """Write counts and rejected jets of a dataset `mine` with three test jets of each class."""
    folder = results / "jets" / "mine"
    folder.mkdir(parents=True)
    counts = pd.DataFrame({"class": classes, "split": "test", "jets": 3})
    counts.to_parquet(folder / "counts.parquet")
    counts[:0].to_parquet(folder / "rejected.parquet")
