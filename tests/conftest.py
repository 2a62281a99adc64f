"""Check every jaxtyping annotation of the package in every test, and let examples take their time."""

from hypothesis import settings
from jaxtyping import install_import_hook

from tests import typecheck

settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")

install_import_hook("llmguide", f"{typecheck.__name__}.check").__enter__()
