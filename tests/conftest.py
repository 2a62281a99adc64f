"""Check every jaxtyping annotation of the package in every test; examples are untimed and always the same."""

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from tests import typecheck

settings.register_profile(
    "same",
    settings.default,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same")

install_import_hook("llmguide", f"{typecheck.__name__}.check").__enter__()
