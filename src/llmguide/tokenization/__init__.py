"""Tokenization: pre-tokenization, byte-pair encoding, and published vocabularies."""
