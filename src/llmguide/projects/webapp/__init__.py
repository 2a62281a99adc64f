"""Applications: a model behind a web page of its own, on this machine, which keeps work and verdicts.

A module has ``APP``, an `llmguide.projects.webapp.web.App`, which ``llmguide app NAME`` serves; its
page is in the folder of that name below ``pages``.
"""

APPS = {
    "code-assistant": "code_assistant",
    "creative-writing": "creative_writing",
    "retrieval-chatbot": "retrieval_chatbot",
}
