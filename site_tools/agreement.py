"""Compare a stored output with a computed one."""

import re

_NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d*)?(?:[eE][-+]?\d+)?")


def agree(stored: str, computed: str) -> bool:
    """Whether two outputs agree: text and integers exactly, floats to one unit of their last digit.

    Two numbers after ``≈`` also agree if neither is over twice the other: what a training run arrives at
    depends on how a processor rounds.

    >>> agree("loss 0.693, step 12", "loss 0.694, step 12")
    True
    >>> agree("loss 0.693, step 12", "loss 0.693, step 13")
    False
    >>> agree("KL ≈1.0", "KL ≈1.9"), agree("KL ≈1.0", "KL ≈2.1"), agree("KL ≈1.0", "KL ≈-1.0")
    (True, False, False)
    """
    if stored == computed:
        return True
    if _NUMBER.sub("#", stored) != _NUMBER.sub("#", computed):
        return False
    pairs = zip(_NUMBER.finditer(stored), _NUMBER.finditer(computed), strict=True)
    return all(_same(a[0], b[0], is_rough=stored[: a.start()].endswith("≈")) for a, b in pairs)


def _same(a: str, b: str, *, is_rough: bool) -> bool:
    if a == b or abs(_value(a) - _value(b)) <= 1.001 * min(_unit(a), _unit(b)):
        return True
    return is_rough and _value(b) != 0 and 0.5 <= _value(a) / _value(b) <= 2


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _unit(number: str) -> float:
    """Worth of the last printed digit; 0 for an integer, which must be exact."""
    mantissa, _, exponent = number.lower().partition("e")
    if "." not in mantissa and not exponent:
        return 0.0
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))
