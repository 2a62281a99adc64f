"""Projects: small programs that each train a model from data to evaluation, and check the result.

A module has ``Plan``, the options of a project; ``project``, which ``llmguide project NAME`` calls with a
`llmguide.projects.run.Run`; and ``check``, which ``llmguide check NAME`` calls with the folder of a finished
run. The first writes the models and the record of the run into the folder; the second opens these models and
evaluates them again on held-out data, without reading the record.
"""

MODULES = {
    "character-model": "character_model.project",
    "code-assistant": "code_assistant.project",
    "constitutional-ai": "constitutional_ai.project",
    "continued-pretraining": "continued_pretraining.project",
    "creative-writing": "creative_writing.project",
    "domain-expert": "domain_expert.project",
    "fine-tuning": "fine_tuning.project",
    "instruction-tuning": "instruction_tuning.project",
    "retrieval-chatbot": "retrieval_chatbot.project",
    "reward-model": "reward_model.project",
    "rlhf": "rlhf.project",
    "small-lm": "small_lm.project",
}
