"""The sandbox that model-written code runs in: process isolation, the judge, and its verdicts."""
