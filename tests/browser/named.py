"""What the tests name of pages: a test that looked for it would read, and so depend on, every page.

test_named.py compares it with the pages.
"""

CHAPTER = "learn/attention"
EXERCISES = ["attention", "causal-mask", "sliding-window", "split-heads"]  # of CHAPTER, in reading order
WITHOUT_EXERCISES = "learn/concepts"
