"""Tables: how cells are written and aligned, and which shapes are refused."""

import pytest

from llmguide.pages.tables import matrix, table


def test_table_formats_and_aligns_numbers(capsys):
    table([["a", 1234567, 0.5], ["b", 2, 1234.5678]], ["x", "n", "y"], caption="T")
    assert capsys.readouterr().out == (
        "| x | n | y |\n| :-- | --: | --: |\n| a | 1,234,567 | 0.5 |\n| b | 2 | 1,235 |\n\nTable: T\n"
    )


def test_table_with_a_ragged_row_is_an_error():
    with pytest.raises(ValueError, match=r"\['a'\] has 1 cells, but there are 2 columns"):
        table([["a"]], ["x", "y"], caption="T")


def test_matrix_heads_rows_and_columns(capsys):
    matrix([[0.5, 1], [0, 0.125]], rows=["The", "cat"], columns=["a", "b"], caption="M")
    assert capsys.readouterr().out == (
        "|  | a | b |\n| :-- | --: | --: |\n"
        "| **The** | 0.50 | 1.00 |\n| **cat** | 0.00 | 0.12 |\n\nTable: M\n"
    )


def test_matrix_with_too_few_headings_is_an_error():
    with pytest.raises(ValueError, match="2 rows, but 1 row headings"):
        matrix([[1], [2]], rows=["a"], columns=["b"], caption="M")
