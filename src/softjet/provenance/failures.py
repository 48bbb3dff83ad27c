"""What to tell a user whose machine has come to an end of its memory or its disk."""

import errno

_DISK = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed")
_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Unable to allocate")
KEPT = "run again: finished steps are kept, a training goes on from its last saved state"
"""What to do, and what is not lost."""


def explained(error: BaseException) -> str | None:
    """One line that says what to do, or None if it is another kind of error."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    if _is_of_disk(error) or any(sign in said for sign in _DISK):
        return f"the disk is full ({said}); free some space and {KEPT}"
    if isinstance(error, MemoryError) or any(sign in said for sign in _MEMORY):
        return f"out of memory ({said}); give the job more memory or a smaller batch and {KEPT}"
    return None


def _is_of_disk(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
