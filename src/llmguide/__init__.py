"""Reference implementations of large language models: the code that the guide shows.

Modules import nothing from each other that is not needed, and this file imports none of them, so
``import llmguide`` costs nothing; write ``from llmguide.nn.attention import attention``.
"""

__version__ = "0.1.0"
