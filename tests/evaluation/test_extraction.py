import pytest

from llmguide.evaluation.extraction import extract_code


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\ndef f(x):\n    return x\n```", "def f(x):\n    return x\n"),
        ("Text\n```\ndef f(x): pass\n```\nmore\n```py\ndef g(): f(1)\n```", "def f(x): pass\n"),
        (
            "```python\ndef f(x): return 1\n```\nBetter:\n```python\ndef f(x): return 2\n```",
            "def f(x): return 2\n",
        ),
        ("```python\ndef f(x):\n    return 1", "def f(x):\n    return 1"),
        ("class S:\n    def f(self, x): return 1", "class S:\n    def f(self, x): return 1"),
        ("```python\nasync def f(x): ...\n```", "async def f(x): ...\n"),
        ("The function def f(x) is easy.", None),
        ("```python\nprint(1)\n```", None),
        ("```python\ndef ff(x): ...\n```", None),
        ("", None),
    ],
)
def test_the_last_block_that_defines_the_function(completion, code):
    assert extract_code(completion, "f") == code


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\nx = 1\n```\nor\n```\nx = 2\n```\n", "x = 2\n"),
        ("   ```py\nx = 1\n   ```", "x = 1\n"),
        ("```\nx = '```'\n```", "x = '```'\n"),
        ("```python\nx = 1", "x = 1"),
        ("```", None),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_last_block(completion, code):
    assert extract_code(completion) == code
