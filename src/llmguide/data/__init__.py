"""Training data from text files: reading, filtering, deduplication, decontamination, tokenization."""
