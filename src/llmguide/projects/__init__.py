"""Projects: small programs that each train something real from beginning to end, and check what came out.

A module has ``project``, which ``llmguide project NAME`` runs, and ``check``, which ``llmguide check NAME``
runs. The first leaves a folder with the models and the record of the run; the second opens those models and
measures them anew on data that they were not trained on, without a look at the record.
"""

MODULES = {
    "character-model": "character_model",
    "code-assistant": "code_assistant.project",
    "constitutional-ai": "constitutional_ai.project",
    "continued-pretraining": "continued_pretraining",
    "creative-writing": "creative_writing.project",
    "domain-expert": "domain_expert.project",
    "fine-tuning": "fine_tuning.project",
    "instruction-tuning": "instruction_tuning.project",
    "retrieval-chatbot": "retrieval_chatbot.project",
    "reward-model": "reward_model",
    "rlhf": "rlhf.project",
    "small-lm": "small_lm.project",
}
