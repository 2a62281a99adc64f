"""The commands of ``llmguide``, one module each; needs ``llmguide[cli]``.

A module has ``COMMAND``, a function or a table of functions, and ``DESCRIPTION``, the start of its help text.
"""
