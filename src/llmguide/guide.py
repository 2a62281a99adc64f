"""The address of the guide, for messages and files that point to its pages."""

GUIDE = "https://llmguide.github.io/llmguide/"
