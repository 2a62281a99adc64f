"""The browser that the tests drive and that prints the book."""

import os
import shutil


def chromium() -> str:
    """The Chromium or Chrome of the system, preferably the headless shell; CHROMIUM names another program.

    Raises:
        FileNotFoundError: There is none.
    """
    names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
    for name in [os.environ.get("CHROMIUM") or names[0], *names]:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "no Chromium or Chrome on PATH; install one, or name it: CHROMIUM=/path/to/chrome"
    )
