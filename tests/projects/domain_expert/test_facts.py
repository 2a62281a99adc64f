"""The facts that are read from source, beside what the running Python says when it is asked."""

from importlib import import_module
from inspect import getattr_static, getdoc, isclass, signature

import pytest

from llmguide.projects.domain_expert.facts import RELATIONS, facts, invented, names

MODULES = ("argparse", "configparser", "json", "statistics", "tarfile", "textwrap", "zipfile")


@pytest.fixture(scope="module")
def objects():
    """Of some modules, what is theirs, by name."""
    found = {}
    for module in map(import_module, MODULES):
        for name in dir(module):
            each = getattr_static(module, name)
            if (getattr(each, "__module__", "") or "").partition(".")[0] == module.__name__:
                found[name] = each
    return found


@pytest.mark.parametrize("relation", RELATIONS)
def test_python_says_the_same(relation, objects):
    told = [fact for fact in facts() if fact.relation == relation and fact.name in objects]
    assert len(told) > 10
    for _, name, value in told:
        each = objects[name]
        if relation == "package":
            assert each.__module__.partition(".")[0] == value
        elif relation == "kind":
            is_exception = isclass(each) and issubclass(each, BaseException)
            assert value == ("exception" if is_exception else "class" if isclass(each) else "function")
        elif relation == "parameter":
            assert next(iter(signature(each).parameters)) == value
        elif relation == "base":
            assert each.__bases__[0].__name__ == value
        else:
            assert " ".join(getdoc(each).split("\n\n")[0].split()) == value


def test_a_name_has_one_value_of_each_relation():
    pairs = [(fact.relation, fact.name) for fact in facts()]
    assert len(pairs) == len(set(pairs))
    assert not any(name.startswith("_") for name in names())
    assert {"bisect_left", "JSONDecodeError"} <= {*names()}


def test_made_up_names_do_not_exist():
    made = invented(300, names())
    assert len(set(made)) == 300
    assert not set(made) & set(names())
    assert invented(300, names()) == made


def test_of_too_few_names_fewer_are_made_up():
    assert invented(10, ["get_path", "set_name"]) == ["get_name", "set_path"]
