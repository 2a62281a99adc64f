"""The ladder: exercises that build on each other, from a tokenizer to a fine-tuned GPT."""

from llmguide.exercises.definition import Exercise
from llmguide.exercises.ladder import (
    attention,
    generation,
    preferences,
    reinforcement,
    text,
    training,
    transformer,
    tuning,
)

EXERCISES: tuple[Exercise, ...] = (
    *text.EXERCISES,
    *attention.EXERCISES,
    *transformer.EXERCISES,
    *training.EXERCISES,
    *generation.EXERCISES,
    *tuning.EXERCISES,
    *reinforcement.EXERCISES,
    *preferences.EXERCISES,
    *tuning.LAST,
)
