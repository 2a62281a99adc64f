"""What larger runs of the projects need: each estimate has a row, and fits the GPU that it assumes."""

import re

import pytest
from site_tools import DOCS

from llmguide.costs.gpus import GPUS
from llmguide.projects.tiers import GPU, TIERS, memory


def test_each_estimate_is_in_the_table_of_its_page():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "projects").glob("*.md")}
    shown = {name for page in pages.values() for name in re.findall(r'estimate\("([^"]+)"\)', page)}
    assert shown == set(TIERS)
    for name in TIERS:
        assert f'estimate("{name}")' in pages[name.partition(",")[0]]


@pytest.mark.parametrize("name", TIERS)
def test_each_run_fits_its_gpu(name):
    for tier in TIERS[name]:
        assert memory(tier) < GPUS[GPU].memory
