"""Check every jaxtyping annotation of the package at run time, in every test."""

from jaxtyping import install_import_hook

from tests import typecheck

install_import_hook("llmguide", f"{typecheck.__name__}.check").__enter__()
