"""Run the pages' ES modules in Node, and compare what they return."""

import json
import subprocess
from pathlib import Path
from typing import Any

from site_tools import RUNTIME

WIDGETS = RUNTIME / "widgets"


def node(module: Path, body: str, **given: Any) -> Any:
    """Return what a function body returns that sees a module as ``m`` and values as ``given``.

    JSON has no infinity: there it is the string "-Infinity", which `float` understands.
    """
    program = f"""
        import * as m from {json.dumps(module.as_uri())};
        import {{ readFileSync }} from "node:fs";
        const given = JSON.parse(readFileSync(0, "utf8"));
        const result = await (async () => {{ {body} }})();
        process.stdout.write(JSON.stringify(result, (_, value) =>
          value === -Infinity ? "-Infinity" : ArrayBuffer.isView(value) ? Array.from(value) : value));
    """
    command = ["node", "--no-warnings", "--input-type=module", "--eval", program]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
