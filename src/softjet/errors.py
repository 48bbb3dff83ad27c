"""The one exception that a user is meant to read."""


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
        super().__init__(" ".join(f"{where}: {field}: {problem}".split()))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        return InputError, (self.where, self.field, self.problem)
