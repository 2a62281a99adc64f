import subprocess
import sys

import pytest

from llmguide.exercises.time_limit import OutOfTime, time_limit

TRACED = """
import sys
from llmguide.exercises.time_limit import time_limit

def trace(frame, event, argument):
    return trace

def f():
    return 1

with time_limit(60):
    pass
sys.settrace(trace)
print(f())
"""


def test_a_function_can_be_traced_after_it():
    command = [sys.executable, "-c", TRACED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1\n"


def test_an_endless_loop_is_ended_and_what_follows_is_not():
    def loop():
        while True:
            pass

    with pytest.raises(OutOfTime), time_limit(0.05):
        loop()
    assert sum(range(100_000)) == 4_999_950_000


def test_a_limit_that_passes_as_the_block_ends_is_raised_in_the_block_or_not_at_all():
    for _ in range(200):
        try:
            with time_limit(0.0001):
                sum(range(2_000))
        except OutOfTime:
            pass
        assert sum(map(abs, range(2_000))) == 1_999_000
