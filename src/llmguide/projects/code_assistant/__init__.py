"""The code assistant: a model of code that completes inside an editor."""
