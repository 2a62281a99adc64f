"""The layers of a Transformer: embeddings, positions, attention, norms, feed-forward layers, blocks."""
