"""The one exception that a user is meant to read."""

_LONGEST = 1000
"""Characters of a message: names and values may come from a file, and be of any length."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line.

    Parameters
    ----------
    where : str or path
        The file (or config file) at fault.
    field : str
        The field, branch, key or entry in it.
    problem : str
        What is wrong and what to do about it.
    """

    def __init__(self, where: object, field: str, problem: str) -> None:
        self.where, self.field, self.problem = str(where), field, problem
        super().__init__(_one_line(f"{where}: {field}: {problem}"))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        return InputError, (self.where, self.field, self.problem)


def first_line(error: BaseException) -> str:
    """First line of what an error of a library says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _one_line(text: str) -> str:
    """One line of what a terminal shows as it is; of a long text beginning and end."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
