"""Measurements that several projects make of a model or a text."""
