"""The retrieval chatbot: split documents into chunks, index, search and quote them, and evaluate each part.

In reading order: `documents` (what is searched), `chunks` (the passages), `bm25` and `embed` (two scores for
a question and a passage), `vector_store` (where the vectors are stored), `search` (both combined), `answer`
(quote, write or abstain), `metrics` and `questions` (evaluation), `project` and `app`.
"""
