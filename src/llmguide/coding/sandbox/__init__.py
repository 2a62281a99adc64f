"""The sandbox for model-written code: process isolation, the judge, and its verdicts."""
