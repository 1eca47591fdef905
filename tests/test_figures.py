"""How numbers are written: by hand, and the same from both sides of zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.figures import DASH, MINUS, number, signed


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (None, DASH, DASH),
        (0.0, "0.000", "0.000"),
        (-0.0, "0.000", "0.000"),
        (0.0004, "0.000", "0.000"),
        (-0.0004, "0.000", "0.000"),
        (0.0126, "0.013", "+0.013"),
        (-0.0126, f"{MINUS}0.013", f"{MINUS}0.013"),
        (1.0, "1.000", "+1.000"),
    ],
)
def test_by_hand(value: float | None, plain: str, with_sign: str) -> None:
    assert (number(value), signed(value)) == (plain, with_sign)


@given(value=st.floats(-10, 10), digits=st.integers(0, 5))
def test_a_sign_is_all_that_a_mirror_changes(value: float, digits: int) -> None:
    one, other = signed(value, digits), signed(-value, digits)
    assert one.lstrip(f"+{MINUS}") == other.lstrip(f"+{MINUS}")
    assert (one[0], other[0]) in (("+", MINUS), (MINUS, "+")) or one == other
    assert float(one.replace(MINUS, "-")) == pytest.approx(value, abs=0.5 * 10.0**-digits + 1e-9)
