"""The ladder: exercises that build on each other, from a tokenizer to a fine-tuned GPT."""

from llmguide.exercises.grading import Exercise
from llmguide.exercises.ladder import generation, preferences, text, training, transformer, tuning

EXERCISES: tuple[Exercise, ...] = (
    *text.EXERCISES,
    *transformer.EXERCISES,
    *training.EXERCISES,
    *generation.EXERCISES,
    *tuning.EXERCISES,
    *preferences.EXERCISES,
    *tuning.LAST,
)
