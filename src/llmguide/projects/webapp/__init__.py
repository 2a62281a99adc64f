"""Applications: a model behind a web page of its own, on this machine, which keeps work and verdicts.

The module ``app`` of a project has ``APP``, a `llmguide.projects.webapp.web.App`, which ``llmguide app NAME``
serves. Its page is in the folder of that name below ``pages``.
"""

APPS = {
    "code-assistant": "code_assistant",
    "creative-writing": "creative_writing",
    "retrieval-chatbot": "retrieval_chatbot",
}
