"""Progress of long steps: a bar in a terminal, a line a minute in a log."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger("softjet")


class Progress:
    """Count work done, for whoever watches and for the log.

    Parameters
    ----------
    total : int
        Units of work in all.
    what : str
        What is done, as a verb phrase: "train reference".
    unit : str
        The unit counted: "jets", "steps".
    done : int
        Units done before a resume; they do not count for the rate.
    every : float
        Seconds between two lines in the log.
    """

    def __init__(self, total: int, what: str, unit: str, done: int = 0, every: float = 60.0) -> None:
        self.total, self.what, self.unit, self.every = total, what, unit, every
        self.done = self._first = done
        self._start = self._last = time.monotonic()
        quiet = not sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", initial=done, disable=quiet)

    def __enter__(self) -> "Progress":
        log.info("%s: %d %s to do", self.what, self.total - self.done, self.unit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._line("stopped at" if kind else "done")

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` units more; `note` (say the loss) goes behind the count."""
        self.done += n
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)
        if time.monotonic() - self._last >= self.every:
            self._line(note)

    def _line(self, note: str) -> None:
        self._last = time.monotonic()
        rate = (self.done - self._first) / max(self._last - self._start, 1e-9)
        count = f"{self.done} of {self.total} {self.unit}"
        log.info("%s: %s, %s%s", self.what, count, _pace(rate), f", {note}" if note else "")


def _pace(rate: float) -> str:
    """Units a second, or seconds a unit where these are more than one."""
    return f"{1 / rate:.1f} s each" if 0 < rate < 1 else f"{rate:.1f} a second"
