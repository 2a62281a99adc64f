"""The creative writing assistant."""
