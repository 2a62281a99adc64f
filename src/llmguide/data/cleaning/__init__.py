"""Cleaning a corpus: filters, deduplication, decontamination, and the pipeline that applies them."""
