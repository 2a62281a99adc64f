"""Check every jaxtyping annotation of the package at run time, in every test."""

from jaxtyping import install_import_hook

install_import_hook("llmguide", "beartype.beartype").__enter__()
