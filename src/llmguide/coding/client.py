"""Asks a model: any endpoint that speaks OpenAI's formats, or a transcript of what one answered.

The endpoint comes from the environment: ``OPENAI_BASE_URL``, such as ``http://localhost:8000/v1`` for vLLM,
llama.cpp or Ollama, and ``OPENAI_API_KEY`` where one is needed. Transcripts are JSON files named by the
hash of the request, with the model that answered; a page that uses them needs no network and shows what was
said, right or wrong.
"""

import hashlib
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, ClassVar, cast

TRANSCRIPTS = Path(__file__).with_name("transcripts")
_AGAIN = (408, 429, 500, 502, 503, 504)  # answers after which it is worth trying again
_LONGEST_WAIT = 30.0
_OVERHEAD, _PER_TOKEN = 2**20, 2**10  # bytes of a response: an event of a stream takes about 300 for a token


@dataclass(frozen=True)
class Request:
    """What is asked, of which model, and how it is to answer.

    Attributes:
        messages: The conversation so far, ``{"role": ..., "content": ...}`` each.
        model: Its name at the endpoint.
        temperature: 0 takes the likeliest token each time.
        max_tokens: Of the answer.
        seed: Of the sampling, where the endpoint can keep to it.
    """

    messages: tuple[Mapping[str, str], ...]
    model: str
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    path: ClassVar[str] = "chat/completions"

    def key(self) -> str:
        """Return a hash of all of it, the name of its transcript.

        >>> len(Request(({"role": "user", "content": "Hi"},), "some-model").key())
        20
        """
        text = json.dumps(self.payload(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def payload(self) -> dict[str, Any]:
        """Return what is sent to an endpoint."""
        return asdict(self) | {"messages": [dict(message) for message in self.messages]}


@dataclass(frozen=True)
class Completion:
    """A text to be continued, or filled in before a suffix, in the older format, which base models speak.

    Attributes:
        prompt: What stands before.
        model: Its name at the endpoint.
        suffix: What is to stand after; not every endpoint can fill in.
        temperature: As in `Request`, like the next two.
        max_tokens: See `Request`.
        seed: See `Request`.
        stop: Texts before which the completion ends.
    """

    prompt: str
    model: str
    suffix: str | None = None
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    stop: tuple[str, ...] | None = None
    path: ClassVar[str] = "completions"

    def payload(self) -> dict[str, Any]:
        """Return what is sent to an endpoint.

        >>> Completion("def f(", "some-model", max_tokens=8).payload()
        {'prompt': 'def f(', 'model': 'some-model', 'temperature': 0.0, 'max_tokens': 8, 'seed': 0}
        """
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Attributes:
        text: The answer.
        finish_reason: ``stop``, or ``length`` if it was cut off.
        source: The endpoint, or how the transcript was recorded.
    """

    text: str
    finish_reason: str
    source: str


class EndpointError(RuntimeError):
    """An endpoint cannot be reached, refuses, or answers with something else."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would carry the API key and the prompt to another host."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, *rest: Any) -> None:
        fp.close()
        target = urllib.parse.urlsplit(rest[-1])
        raise EndpointError(
            f"{req.full_url} redirects to {target.scheme}://{target.hostname}, and nothing was sent there; "
            "if you trust that host, set OPENAI_BASE_URL or --url to its address"
        )


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True)
class Endpoint:
    """A server of models.

    A response may have 1 MiB and 1 KiB for each token of ``max_tokens``; what is longer is refused.

    Attributes:
        base_url: Up to ``/v1``.
        api_key: Sent as a bearer token, if not empty; never part of an error message.
        timeout_s: For each try.
        retries: After the first try, while the server is busy or does not answer.
    """

    base_url: str
    api_key: str = ""
    timeout_s: float = 60.0
    retries: int = 3

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r})"

    @classmethod
    def from_environment(cls) -> "Endpoint":
        """Read ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``; raises `EndpointError` without the former."""
        if not (url := os.environ.get("OPENAI_BASE_URL", "").rstrip("/")):
            raise EndpointError(
                "OPENAI_BASE_URL is not set; set it to an endpoint such as http://localhost:8000/v1, and "
                "OPENAI_API_KEY if it needs one"
            )
        return cls(url, os.environ.get("OPENAI_API_KEY", ""))

    def ask(self, request: Request) -> Answer:
        """Ask and wait for the whole answer.

        Raises:
            EndpointError: There is no answer after all tries, or the server refuses.
        """
        with self._open(request, stream=False) as response:
            body = b"".join(_lines(response, request.max_tokens))
        try:
            choice = json.loads(body)["choices"][0]
            text, reason = _text(choice["message"]["content"]), _text(choice.get("finish_reason")) or "stop"
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(f"{self.base_url} answered with something else: {body[:300]!r}") from error
        return Answer(text, reason, self.base_url)

    def stream(self, request: Request | Completion) -> Iterator[str]:
        """Ask and yield the pieces of the answer as they come.

        Raises:
            EndpointError: As for `ask`, or the stream breaks off.
        """
        with self._open(request, stream=True) as response:
            try:
                for line in _lines(response, request.max_tokens):
                    data = line.decode().removeprefix("data:").strip()
                    if data == "[DONE]":
                        return
                    if not line.startswith(b"data:"):
                        continue
                    found = json.loads(data)
                    if "error" in found:  # the status was sent before it was known
                        raise EndpointError(f"{self.base_url} fails: {json.dumps(found['error'])[:300]}")
                    if choices := found["choices"]:  # none, where usage is told
                        choice = choices[0]
                        yield _text(choice["delta"].get("content") if "delta" in choice else choice["text"])
            except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError) as error:
                raise EndpointError(f"the stream from {self.base_url} broke off: {error}") from error
        raise EndpointError(f"the stream from {self.base_url} ended without [DONE]")

    def _open(self, request: Request | Completion, *, stream: bool) -> HTTPResponse:
        if not self.base_url.startswith(("http://", "https://")):
            raise EndpointError(f"{self.base_url!r} is no address; it begins with http:// or https://")
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data = json.dumps(request.payload() | {"stream": stream}).encode()
        url = f"{self.base_url}/{request.path}"
        for attempt in range(self.retries + 1):
            sent = urllib.request.Request(url, data, headers)
            wait = 2.0**attempt / 2
            try:
                return cast(HTTPResponse, _OPENER.open(sent, timeout=self.timeout_s))
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
                if error.code not in _AGAIN:
                    raise EndpointError(f"{url} refuses: {reason}") from None
                wait = _seconds(error.headers.get("Retry-After"), wait)
            except (OSError, HTTPException) as error:
                reason = str(error) or type(error).__name__
            if attempt < self.retries:
                time.sleep(min(wait, _LONGEST_WAIT))
        raise EndpointError(f"{url} gives no answer after {self.retries + 1} tries: {reason}")


def _lines(response: HTTPResponse, max_tokens: int) -> Iterator[bytes]:
    """Yield the lines of a response, until it is longer than the answer can be."""
    left = limit = _OVERHEAD + _PER_TOKEN * max_tokens
    while line := response.readline(left + 1):
        left -= len(line)
        if left < 0:
            raise EndpointError(f"{response.url} sends more than {limit:,} bytes for {max_tokens:,} tokens")
        yield line


def _text(found: Any) -> str:
    if not isinstance(found, str | None):
        raise TypeError(f"{json.dumps(found)[:80]} is not text")
    return found or ""


def _seconds(text: str | None, otherwise: float) -> float:
    return float(text) if text is not None and text.isdigit() else otherwise


def replay(request: Request, folder: Path = TRANSCRIPTS) -> Answer:
    """Return the recorded answer to exactly this request.

    Raises:
        LookupError: It was not recorded.
    """
    path = folder / f"{request.key()}.json"
    if not path.is_file():
        raise LookupError(
            f"no transcript {path.name} for this request to {request.model}; record one with "
            "llmguide.coding.client.record, or set OPENAI_BASE_URL and use ask"
        )
    return Answer(**json.loads(path.read_text(encoding="utf-8"))["answer"])


def record(request: Request, answer: Answer, folder: Path = TRANSCRIPTS) -> Path:
    """Write a transcript: the request as it was sent, the answer as it came, and where it came from."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{request.key()}.json"
    content = {"request": request.payload(), "answer": asdict(answer)}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def ask(request: Request) -> Answer:
    """Ask the endpoint of the environment if there is one, else the transcripts.

    Raises:
        EndpointError: The endpoint gives no answer.
        LookupError: There is no endpoint, and no transcript of this request.
    """
    if os.environ.get("OPENAI_BASE_URL"):
        return Endpoint.from_environment().ask(request)
    return replay(request)
