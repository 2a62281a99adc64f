"""The seed of the tests: 0, or another one from the environment, to see that no result depends on it."""

import os

SEED = int(os.environ.get("LLMGUIDE_TEST_SEED", "0"))
