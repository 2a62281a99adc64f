"""Applications: local web pages for the projects' models, which store documents, answers and feedback.

The module ``app`` of a project defines ``APP``, a `llmguide.projects.webapp.app.App`, which ``llmguide app
NAME`` serves. Its static page is in the folder of that name in ``pages``.
"""

APPS = {
    "code-assistant": "code_assistant",
    "creative-writing": "creative_writing",
    "domain-expert": "domain_expert",
    "retrieval-chatbot": "retrieval_chatbot",
}
