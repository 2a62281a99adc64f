"""Retrieval for the chatbot: documents are cut, indexed, searched, quoted, and all of it is measured.

In reading order: `documents` (what is searched), `chunks` (the passages), `bm25` and `embed` (two ways to
compare a question with them), `index` (where the vectors lie), `search` (both together), `answer` (what is
said, or refused), `measures` and `questions` (how good it is).
"""
