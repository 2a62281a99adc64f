"""What a browser downloads for a page."""

from site_tools.checks.check_site import weights

from tests.browser.host import SITE


def test_every_article_is_light() -> None:
    """Page, styles, scripts and images; the fonts of formulas and the theme's search serve all pages."""
    limits = {"bibliography/index.html": 200_000}  # which grows with each work that a page cites
    heavy = {name: size for name, size in weights(SITE).items() if size > limits.get(name, 150_000)}
    assert not heavy, f"split these pages, or fold what few readers open: {heavy}"
