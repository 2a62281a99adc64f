import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.costs.flops import mfu
from llmguide.costs.gpus import GPUS, cost, gpu_hours

A100 = GPUS["a100"].flops


def test_gpt_3_on_v100s_is_the_estimate_that_made_the_news():
    """355 years of one V100 at 28 TFLOP/s, 1.50 dollars an hour, 4.6 million dollars (Lambda, 2020)."""
    v100 = {"peak_flops": 28e12, "utilization": 1.0}
    assert gpu_hours(3.14e23, **v100) / (24 * 365) == pytest.approx(355.6, abs=0.05)
    assert cost(3.14e23, **v100, price_per_hour=1.5) == pytest.approx(4.67e6, abs=0.005e6)


@pytest.mark.parametrize(("utilization", "hours"), [(0.4, 0.70e6), (0.3, 0.93e6)])
def test_gpt_3_on_a100s(utilization, hours):
    assert gpu_hours(3.14e23, peak_flops=A100, utilization=utilization) == pytest.approx(hours, abs=0.005e6)


@given(st.floats(1e15, 1e26), st.floats(0.01, 1))
def test_hours_and_utilization_are_inverse(flops, utilization):
    hours = gpu_hours(flops, peak_flops=A100, utilization=utilization)
    assert mfu(flops, hours, peak_flops=A100) == pytest.approx(utilization)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gpu_hours(1.0, peak_flops=1.0, utilization=40.0), r"utilization=40\.0"),
        (lambda: cost(1.0, peak_flops=1.0, utilization=0.4, price_per_hour=0.0), r"price_per_hour=0\.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
