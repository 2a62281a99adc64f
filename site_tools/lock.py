"""Pin packages by hash: `python -m site_tools.lock` writes requirements.lock from pyproject.toml.

The versions are those of constraints.txt. For each, the file lists the SHA-256 of all archives of the
release, so that it serves every system and Python. Needs uv (`pip install uv`), which resolves for all of
them at once.

torch and the CUDA libraries that it asks for are left to constraints.txt: its builds for CPUs come from
another index and have other hashes. pip still compares them with the hash that their index states.
"""

import re
import subprocess
import sys

from site_tools import ROOT

LOCK = ROOT / "requirements.lock"
PYTHON = "3.11.5"  # the oldest that all packages take
HEADER = "# Written by: python -m site_tools.lock\n"
_LEFT_OUT = re.compile(r"torch==|triton==|nvidia-|cuda-")


def lock() -> str:
    """Resolve for all systems, and return the file."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--extra", "dev", "--constraint", "constraints.txt"]
    command += ["--universal", "--python-version", PYTHON, "--generate-hashes", "--no-emit-index-url"]
    command += ["--no-header", "--no-annotate", "--quiet"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return HEADER + "".join(entry for entry in entries(text) if not _LEFT_OUT.match(entry))


def entries(text: str) -> list[str]:
    """Split a lock into a requirement with its hashes each."""
    return re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]


if __name__ == "__main__":
    try:
        LOCK.write_text(lock(), encoding="utf-8")
    except FileNotFoundError:
        sys.exit("uv is not installed: pip install uv")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
