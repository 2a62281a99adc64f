"""From text to token ids: pre-tokenization, byte-pair encoding, and the published vocabularies."""
