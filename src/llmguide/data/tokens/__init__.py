"""Training batches from documents: tokenization, token files, packing, windows."""
