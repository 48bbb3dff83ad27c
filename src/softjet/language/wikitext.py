"""WikiText (arXiv 1609.07843) and text of one's own: lines, as the data set on the hub has them."""

import gzip
import zlib
from pathlib import Path

import pandas as pd

from softjet.errors import InputError
from softjet.language.rows import most_unpacked, read_rows
from softjet.language.splits import split_files, task_folder

FOLDERS = {
    "wikitext2": ("wikitext-2-raw-v1", "wikitext-2-raw", "wikitext-2"),
    "wikitext103": ("wikitext-103-raw-v1", "wikitext-103-raw", "wikitext-103"),
    "text": (),
}
"""Tasks of running text, and the folders that hold them in a folder of many."""

SUFFIXES = (".raw", ".raw.gz", ".txt", ".txt.gz", ".parquet", ".arrow")

JOIN = "\n\n"
"""Between two lines when they are made one text: as in the guide to perplexity of transformers and in the
papers on compression since (GPTQ, SparseGPT, SVD-LLM), whose numbers are so comparable."""


def text_rows(name: str, source: str | Path, split: str) -> pd.DataFrame:
    """Read a split of running text.

    Parameters
    ----------
    name : str
        A task of FOLDERS.
    source : str or path
        Folder with files named by their split (wiki.test.raw, test.raw.gz, test.txt, Parquet of the hub), or
        a file.
    split : str
        train or test.

    Returns
    -------
    DataFrame
        text: a line with its end, or nothing for a line of blanks, as the hub's own script makes of the raw
        file.

    Raises
    ------
    InputError
        A missing split, text that is not UTF-8, a damaged file, or nothing but blanks.
    """
    files = split_files(task_folder(source, FOLDERS[name]), (split,), SUFFIXES)
    lines = [line for path in files for line in _lines(path)]
    if not any(map(str.strip, lines)):
        raise InputError(files[0], split, "holds no text; get the file again")
    return pd.DataFrame({"text": pd.Series(lines, dtype="str")})


def _lines(path: Path) -> list[str]:
    if path.suffix in (".parquet", ".arrow"):
        rows = read_rows(path)
        if "text" not in rows:
            raise InputError(path, "text", f"no column of this name; there are {', '.join(rows.columns)}")
        return rows["text"].fillna("").tolist()
    raw = _text(path).split("\n")
    # What follows the last end of line is no line, unless the file breaks off in one.
    lines = [f"{line}\n" for line in raw[:-1]] + [line for line in raw[-1:] if line]
    return [line if line.strip() else "" for line in lines]


def _text(path: Path) -> str:
    try:
        content = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(path, "encoding", f"is not UTF-8 ({error.reason}); convert it to UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, "content", f"cannot be read ({error}); get the file again") from error


def _unpacked(path: Path) -> bytes:
    most = most_unpacked(path)
    with gzip.open(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(path, "content", f"unpacks to more than {most} bytes; get the file again")
    return content
