"""The retrieval chatbot: cut documents into chunks, index, search and quote them, and measure all of it.

In reading order: `documents` (what is searched), `chunks` (the passages), `bm25` and `embed` (two ways to
compare a question with them), `vector_store` (where the vectors are stored), `search` (both together),
`answer` (what is said, or refused), `measures` and `questions` (how good it is), `project` and `app`.
"""
