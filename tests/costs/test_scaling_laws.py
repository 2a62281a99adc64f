import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.costs.flops import PETAFLOP_DAY, training_flops
from llmguide.costs.scaling_laws import (
    BESIROGLU,
    HOFFMANN,
    HOFFMANN_ROUNDED,
    KAPLAN_COMPUTE,
    KAPLAN_PARAMS,
    KAPLAN_TOKENS,
    chinchilla_loss,
    chinchilla_optimal,
    kaplan_loss,
    parametric_optimal,
    tabulated_optimal,
)

BUDGETS = [1e20, 1e21, 1e22, 1e23, 1e24, 1e25]


def close(value: float, digits: int = 3) -> object:
    """Equal to a number known to this many significant digits."""
    return pytest.approx(value, rel=0.5 * 10 ** (1 - digits))


# Scaling laws


@pytest.mark.parametrize(
    ("law", "per_doubling", "factor_for_ten_percent"),
    [
        (KAPLAN_PARAMS, -0.0513, 4.00),
        (KAPLAN_TOKENS, -0.0637, 3.03),
        (KAPLAN_COMPUTE, -0.0341, 8.23),
    ],
)
def test_what_doubling_buys_by_kaplan(law, per_doubling, factor_for_ten_percent):
    assert law(2e20) / law(1e20) - 1 == pytest.approx(per_doubling, abs=0.00005)
    assert law(factor_for_ten_percent * 1e20) / law(1e20) == pytest.approx(0.9, abs=0.0002)


def test_kaplan_laws_pass_through_their_scale():
    assert KAPLAN_PARAMS(8.8e13) == KAPLAN_TOKENS(5.4e13) == KAPLAN_COMPUTE(3.1e8 * PETAFLOP_DAY) == 1
    assert PETAFLOP_DAY == 8.64e19


def test_kaplan_joint_law_tends_to_its_single_laws():
    assert kaplan_loss(1e9, 1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076)
    assert kaplan_loss(1e40, 1e9) == pytest.approx((1.8e13 / 1e9) ** 0.103, rel=1e-6)
    assert kaplan_loss(1e9, 1e30) == pytest.approx(KAPLAN_PARAMS(1e9), rel=0.03)


def test_chinchilla_loss_at_chinchilla():
    """Equation 10 at 70B and 1.4T: ln gives 406.4 / e^8.4905 + 410.7 / e^7.8308."""
    expected = 1.69 + 406.4 / math.exp(0.34 * math.log(70e9)) + 410.7 / math.exp(0.28 * math.log(1.4e12))
    assert chinchilla_loss(70e9, 1.4e12) == pytest.approx(expected)
    assert chinchilla_loss(70e9, 1.4e12) == pytest.approx(1.937, abs=0.0005)


@pytest.mark.parametrize(
    ("constants", "reducible", "totals"),
    [
        (HOFFMANN_ROUNDED, -0.1010, [-0.0353, -0.0212, -0.0117, -0.0085]),
        (HOFFMANN, -0.1018, [-0.0343, -0.0203, -0.0111, -0.0080]),
        (BESIROGLU, -0.1162, [-0.0335, -0.0176, -0.0085, -0.0057]),
    ],
)
def test_what_doubling_compute_buys_by_chinchilla(constants, reducible, totals):
    def loss(flops: float) -> float:
        return chinchilla_loss(*parametric_optimal(flops, constants), constants)

    for flops, total in zip([1e20, 1e22, 1e24, 1e25], totals, strict=True):
        before, after = loss(flops), loss(2 * flops)
        assert (after - constants.E) / (before - constants.E) - 1 == pytest.approx(reducible, abs=0.00006)
        assert after / before - 1 == pytest.approx(total, abs=0.0001)


# Compute-optimal sizes, derived apart from this code from the paper's tables

ALLOCATIONS = {  # parameters in billions, tokens in billions
    "20 tokens a parameter": [(0.91, 18), (2.89, 58), (9.13, 183), (28.9, 577), (91.3, 1830), (289, 5770)],
    "approach 1": [(0.91, 18), (2.86, 58), (9.02, 185), (28.2, 591), (88.5, 1880), (281, 5920)],
    "approach 2": [(0.91, 18), (2.83, 59), (8.73, 191), (26.5, 629), (81.0, 2060), (258, 6460)],
    "approach 3": [(0.80, 21), (2.30, 72), (6.62, 252), (18.8, 889), (52.7, 3160), (157, 10_600)],
    "refit": [(0.85, 20), (2.78, 60), (9.05, 184), (29.4, 566), (95.9, 1740), (312, 5340)],
}
RULES = {
    "20 tokens a parameter": chinchilla_optimal,
    "approach 1": lambda c: tabulated_optimal(c, 1),
    "approach 2": lambda c: tabulated_optimal(c, 2),
    "approach 3": lambda c: tabulated_optimal(c, 3),
    "refit": lambda c: parametric_optimal(c, BESIROGLU),
}


@pytest.mark.parametrize("name", RULES)
def test_allocations(name):
    for flops, (n, d) in zip(BUDGETS, ALLOCATIONS[name], strict=True):
        n_params, n_tokens = RULES[name](flops)
        assert n_params / 1e9 == close(n, 2 if n < 1 else 3)
        assert n_tokens / 1e9 == close(d, 2 if d < 100 else 3)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("flops", BUDGETS)
def test_allocations_spend_the_budget(name, flops):
    assert training_flops(*RULES[name](flops)) == pytest.approx(flops)


@pytest.mark.parametrize(
    ("approach", "tokens"),
    [  # billions, tables 3 and A3
        (1, [20.2, 205.1, 1500, 3700, 5900, 11_000, 21_200]),
        (2, [20.0, 219.5, 1700, 4300, 7100, 13_400, 26_500]),
        (3, [27.1, 410.1, 4100, 12_000, 20_100, 43_500, 94_100]),
    ],
)
def test_the_papers_tables_agree_with_6nd(approach, tokens):
    """The tokens column, which the code does not hold, confirms the FLOPs column that it does.

    Without the first row (400M) and the last (10T), whose rounded tokens put 6ND outside the table.
    """
    sizes = [1e9, 10e9, 67e9, 175e9, 280e9, 520e9, 1e12]
    for n, d in zip(sizes, tokens, strict=True):
        n_params, n_tokens = tabulated_optimal(training_flops(n, d * 1e9), approach)
        assert n_params == pytest.approx(n, rel=0.03)  # 1.5T stands for 1.43T
        assert n_tokens == pytest.approx(d * 1e9, rel=0.03)


@pytest.mark.parametrize(("constants", "ratio"), [(HOFFMANN_ROUNDED, 98), (HOFFMANN, 62)])
def test_rounded_constants_move_the_optimum(constants, ratio):
    n, d = parametric_optimal(1e24, constants)
    assert d / n == close(ratio, 2)


@pytest.mark.parametrize("constants", [HOFFMANN, BESIROGLU])
@given(st.floats(1e18, 1e27), st.floats(0.2, 5).filter(lambda f: abs(f - 1) > 0.01))
def test_the_parametric_optimum_is_a_minimum(constants, flops, factor):
    n, d = parametric_optimal(flops, constants)
    assert chinchilla_loss(n, d, constants) < chinchilla_loss(n * factor, d / factor, constants)


@given(st.floats(1e15, 1e28), st.floats(1, 1000))
def test_the_ratio_rule_keeps_its_ratio(flops, ratio):
    n, d = chinchilla_optimal(flops, tokens_per_param=ratio)
    assert d / n == pytest.approx(ratio)
    assert training_flops(n, d) == pytest.approx(flops)


@given(st.floats(1e6, 1e13), st.floats(1e6, 1e14), st.floats(1.01, 100))
def test_more_of_anything_lowers_the_loss(n, d, factor):
    for loss in [chinchilla_loss, kaplan_loss]:
        assert loss(n * factor, d) < loss(n, d)
        assert loss(n, d * factor) < loss(n, d)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: KAPLAN_PARAMS(0.0), r"x=0\.0"),
        (lambda: kaplan_loss(1.0, 0.0), r"n_tokens=0\.0"),
        (lambda: chinchilla_loss(0.0, 1.0), r"n_params=0\.0"),
        (lambda: chinchilla_optimal(0.0), r"flops=0\.0"),
        (lambda: chinchilla_optimal(1e20, tokens_per_param=0.0), r"tokens_per_param=0\.0"),
        (lambda: parametric_optimal(math.inf, HOFFMANN), "flops=inf"),
        (lambda: tabulated_optimal(1e20, 4), "approach=4"),
        (lambda: tabulated_optimal(1e18, 1), r"1e\+18 is outside approach 1's table"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
