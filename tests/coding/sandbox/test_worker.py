"""What crosses the wire of the judge."""

import ast
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.coding.sandbox import isolation, worker
from llmguide.coding.sandbox.worker import BUILD_S, MAX_DEPTH, NotPlainError, decode, encode

keys = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
keys = st.one_of(keys, st.complex_numbers(allow_nan=False), st.tuples(keys), st.frozensets(keys, max_size=3))
plain = st.recursive(
    st.one_of(keys, st.sets(keys, max_size=3)),
    lambda part: st.one_of(
        st.lists(part, max_size=3), st.tuples(part, part), st.dictionaries(keys, part, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_plain_data_survives_the_wire_with_its_types(value):
    again = decode(encode(value))
    assert again == value
    assert repr(type(again)) == repr(type(value))
    if not isinstance(value, (set, frozenset, dict)):
        assert type(again) is type(value)


def test_types_inside_survive_too():
    value = [True, 1, 1.0, (1,), [1], "1", b"1", 10**4000, float("inf"), None]
    assert [type(x) for x in decode(encode(value))] == [type(x) for x in value]


@pytest.mark.parametrize("value", [object(), len, range(3), type("L", (list,), {})(), {1: {2: object()}}])
def test_other_types_are_refused(value):
    with pytest.raises(NotPlainError, match="cannot be compared"):
        encode(value)


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded_on_both_sides():
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for function in (encode, decode):
        with pytest.raises(NotPlainError, match="nested"):
            function(nested(MAX_DEPTH + 2))
    with pytest.raises(NotPlainError, match="which encode no value"):
        decode({"object": 1})


@pytest.mark.parametrize("file", [worker.__file__, isolation.__file__])
def test_what_runs_in_the_box_imports_the_standard_library_only(file):
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(isolation.sys.stdlib_module_names)


PERIOD = (1 << 61) - 1  # integers that differ by a multiple of it have the same hash


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict", "many sets", "sets of sets"])
def test_keys_with_equal_hashes_do_not_hold_the_judge_up(kind):
    numbers = [i * PERIOD for i in range(1, 20_000)]
    value = {
        "set": {"set": numbers},
        "frozenset": {"frozenset": numbers},
        "dict": {"dict": [[number, 0] for number in numbers]},
        "many sets": [{"set": numbers[i : i + 1000]} for i in range(0, 20_000, 1000)] * 10,
        "sets of sets": {"set": [{"frozenset": numbers[i : i + 2500]} for i in range(0, 10_000, 100)]},
    }[kind]
    start = time.thread_time()
    with pytest.raises(NotPlainError, match="equal hashes"):
        decode(value)
    assert time.thread_time() - start < 10 * BUILD_S  # they would cost from 5 s to minutes


def test_keys_that_are_many_or_happen_to_have_equal_hashes_are_read():
    grid = {
        (x, y, z) for x in range(-9, 9) for y in range(-9, 9) for z in range(-9, 9)
    }  # hash(-1) == hash(-2)
    for value in (grid, set(range(20_000)), dict.fromkeys(range(-9_000, 9_000))):
        assert decode(encode(value)) == value
