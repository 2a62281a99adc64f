"""Run the programs that npm installs."""

import subprocess

from site_tools import ROOT


def npm(program: str, *arguments: str, given: bytes = b"") -> bytes:
    """What a program of node_modules prints, for these arguments and this input.

    Raises:
        ValueError: It fails; the message is what it says, with file and line.
    """
    command = [str(ROOT / "node_modules" / ".bin" / program), *arguments]
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"{program} {' '.join(arguments)}: {(done.stderr or done.stdout).decode().strip()}")
    return done.stdout
