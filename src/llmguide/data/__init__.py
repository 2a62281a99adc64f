"""From files of text to training data: reading, filtering, deduplication, decontamination, tokens."""
