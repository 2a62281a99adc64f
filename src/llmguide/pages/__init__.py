"""What the table and figure cells of the guide's pages call.

A notebook of a page imports these names::

    from llmguide.pages import cite, diagram, fact, figure, heatmap, matrix, table

`table` and `matrix` show Markdown tables. `figure` yields a figure to plot on, `heatmap` plots a matrix, and
`diagram` plots boxes and arrows. `fact` returns a number with its source, and `cite` cites a work.
"""

from llmguide.pages.diagrams import Diagram
from llmguide.pages.facts import cite, fact
from llmguide.pages.figures import figure, heatmap
from llmguide.pages.tables import matrix, table

diagram = Diagram

__all__ = ["cite", "diagram", "fact", "figure", "heatmap", "matrix", "table"]
