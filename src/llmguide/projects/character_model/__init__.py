"""The character model: the run, its tokenizer and its metrics."""
