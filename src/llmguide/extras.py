"""Import modules that come with an extra of the package, such as ``llmguide[hf]``."""

import warnings
from importlib import import_module
from typing import Any


def import_extra(module: str, extra: str, what: object) -> Any:
    """Import a module of an extra.

    Args:
        module: Dotted name of the module.
        extra: Extra of llmguide that installs it.
        what: Name of what needs the module, for the error message.

    Raises:
        ModuleNotFoundError: The module is not installed; the message names the extra.

    >>> import_extra("json", "cli", "a table").loads("1")
    1
    """
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, in a notebook without ipywidgets
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{what} needs {module}: pip install "llmguide[{extra}]"') from error
