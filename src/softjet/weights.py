"""What is asked of weights that come from a file, of whatever model."""

from collections.abc import Iterable

from torch import Tensor

from softjet.errors import InputError


def check_finite(weights: Iterable[tuple[str, Tensor]], where: object, advice: str) -> None:
    """Refuse weights that are not finite.

    Parameters
    ----------
    weights : iterable of (str, Tensor)
        By name, as of `named_parameters`.
    where : object
        Where they come from.
    advice : str
        What to do about it.

    Raises
    ------
    InputError
        Names the first that holds NaN or an infinity.
    """
    for name, value in weights:
        if not value.isfinite().all():
            raise InputError(where, name, f"holds values that are not finite; {advice}")
