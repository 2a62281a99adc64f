"""The commands of ``llmguide``, one module each; needs ``llmguide[cli]``.

A module has ``COMMAND``, a function or a table of them, and ``DESCRIPTION``, the head of its help.
"""
