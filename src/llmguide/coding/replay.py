"""Replays recorded responses of models to requests, and records them.

Transcripts are JSON files named by the hash of the request. Pages that replay them need no network and show
what the model wrote, right or wrong.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

from llmguide.coding.client import Endpoint, Request, Response
from llmguide.files import write_text

TRANSCRIPTS = Path(__file__).with_name("transcripts")


def replay(request: Request, folder: Path = TRANSCRIPTS) -> Response:
    """Return the recorded response to exactly this request.

    Raises:
        LookupError: No response was recorded.
    """
    path = folder / f"{request.key()}.json"
    if not path.is_file():
        raise LookupError(
            f"no transcript {path.name} for this request to {request.model}; record one with "
            "llmguide.coding.replay.record, or set OPENAI_BASE_URL and use ask"
        )
    return Response(**json.loads(path.read_text(encoding="utf-8"))["response"])


def record(request: Request, response: Response, folder: Path = TRANSCRIPTS) -> Path:
    """Write a transcript: the request, the response, and the source of the response."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{request.key()}.json"
    content = {"request": request.payload(), "response": asdict(response)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def ask(request: Request) -> Response:
    """Send a request to the endpoint of the environment if there is one, or else replay its transcript.

    Raises:
        EndpointError: The endpoint refuses the request or does not respond.
        LookupError: There is no endpoint and no transcript of this request.
    """
    if os.environ.get("OPENAI_BASE_URL"):
        return Endpoint.from_environment().ask(request)
    return replay(request)
