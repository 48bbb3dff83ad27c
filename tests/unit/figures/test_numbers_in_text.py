"""Numbers as sentences have them."""

import numpy as np
import pytest

from softjet.figures.report import percent, with_interval


@pytest.mark.parametrize("number", [float, np.float64, np.float32])
def test_what_is_rounded_to_zero_has_no_sign(number):
    value, low, high = map(number, (-0.0001, -0.0004, 0.0002))
    assert with_interval(value, low, high) == "0.000 [0.000, 0.000]"
    assert with_interval(value, number(-0.001), number(0.001)) == "0.000 [-0.001, 0.001]"
    assert with_interval(value, number("nan"), high) == "0.000 (no interval)"
    assert percent(number(-0.001), 0) == "0 %"
    assert percent(number(-0.0149), 0) == "-1 %"
