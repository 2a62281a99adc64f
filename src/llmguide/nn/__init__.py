"""The parts of a Transformer: embeddings, positions, masks, attention, norms, feed-forward layers, blocks."""
