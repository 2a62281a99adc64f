"""Sends requests to an OpenAI-compatible endpoint.

The endpoint comes from the environment: ``OPENAI_BASE_URL``, such as ``http://localhost:8000/v1`` for vLLM,
llama.cpp or Ollama, and ``OPENAI_API_KEY`` if it needs one. An endpoint needs ``llmguide[cli]``.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from llmguide.extras import import_extra

if TYPE_CHECKING:
    import httpx2

_RETRIED = (408, 429, 500, 502, 503, 504)  # status codes that are worth a retry
_LONGEST_WAIT = 30.0
_OVERHEAD, _PER_TOKEN = 2**20, 2**10  # bytes of a response; a streamed token takes about 300


@dataclass(frozen=True)
class Request:
    """A chat request: messages, model and sampling parameters.

    Attributes:
        messages: Conversation so far, each message ``{"role": ..., "content": ...}``.
        model: Name of the model at the endpoint.
        temperature: Sampling temperature, 0 or above; 0 is greedy.
        max_tokens: Largest number of tokens in the response.
        seed: Sampling seed, for endpoints that support one.
    """

    messages: tuple[Mapping[str, str], ...]
    model: str
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    path: ClassVar[str] = "chat/completions"

    def key(self) -> str:
        """Return a hash of the whole request, which names its transcript.

        >>> len(Request(({"role": "user", "content": "Hi"},), "some-model").key())
        20
        """
        text = json.dumps(self.payload(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def payload(self) -> dict[str, Any]:
        """Return the JSON object that is sent to an endpoint."""
        return asdict(self) | {"messages": [dict(message) for message in self.messages]}


@dataclass(frozen=True)
class Completion:
    """A completion request, for base models: a prompt to continue, or a gap to fill in before a suffix.

    Attributes:
        prompt: Text before the completion.
        model: Name of the model at the endpoint.
        suffix: Text after the completion, for endpoints that support fill-in-the-middle.
        temperature: Sampling temperature, 0 or above; 0 is greedy.
        max_tokens: Largest number of tokens in the completion.
        seed: Sampling seed, for endpoints that support one.
        stop: Stop strings; the completion ends before the first of them.
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
        """Return the JSON object that is sent to an endpoint.

        >>> Completion("def f(", "some-model", max_tokens=8).payload()
        {'prompt': 'def f(', 'model': 'some-model', 'temperature': 0.0, 'max_tokens': 8, 'seed': 0}
        """
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Response:
    """A model's response.

    Attributes:
        text: Text of the response.
        finish_reason: ``stop``, or ``length`` if the response was cut off at ``max_tokens``.
        source: URL of the endpoint, or how the transcript was recorded.
    """

    text: str
    finish_reason: str
    source: str


class EndpointError(RuntimeError):
    """An endpoint that cannot be reached, refuses a request, or sends an unexpected response."""


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Redirects are refused, and so is a response of more than 1 MiB plus 1 KiB for each of ``max_tokens``.

    Attributes:
        base_url: Address up to and including ``/v1``.
        api_key: Bearer token; empty if none is needed. It is never part of an error message.
        timeout_s: Timeout of each attempt, in seconds.
        retries: Number of attempts after the first, while the server is busy or unreachable.
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

    def ask(self, request: Request) -> Response:
        """Send a request and wait for the whole response.

        Raises:
            EndpointError: The server refuses the request, or does not respond in all attempts.
        """
        with self._open(request, stream=False) as response:
            try:
                body = b"".join(_limited(response, request.max_tokens))
            except _httpx().HTTPError as error:
                raise EndpointError(f"the response from {self.base_url} broke off: {error}") from error
        try:
            choice = json.loads(body)["choices"][0]
            text, reason = _text(choice["message"]["content"]), _text(choice.get("finish_reason")) or "stop"
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(f"{self.base_url} sent an unexpected response: {body[:300]!r}") from error
        return Response(text, reason, self.base_url)

    def stream(self, request: Request | Completion) -> Iterator[str]:
        """Send a request and yield the pieces of the completion as they arrive.

        The end is the event ``[DONE]``, or a finish reason, after which ``transformers serve`` sends nothing.

        Raises:
            EndpointError: A request fails as in `ask`, or the stream breaks off.
        """
        is_finished = False
        with self._open(request, stream=True) as response:
            try:
                for line in _lines(_limited(response, request.max_tokens)):
                    data = line.decode().removeprefix("data:").strip()
                    if data == "[DONE]":
                        return
                    if not line.startswith(b"data:"):
                        continue
                    event = json.loads(data)
                    if "error" in event:  # the status was sent before the error occurred
                        raise EndpointError(f"{self.base_url} fails: {json.dumps(event['error'])[:300]}")
                    if choices := event["choices"]:  # empty in an event that reports token usage
                        choice = choices[0]
                        yield _text(choice["delta"].get("content") if "delta" in choice else choice["text"])
                        is_finished = is_finished or choice.get("finish_reason") is not None
            except (_httpx().HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
                raise EndpointError(f"the stream from {self.base_url} broke off: {error}") from error
        if not is_finished:
            raise EndpointError(f"the stream from {self.base_url} ended before the completion did")

    @contextmanager
    def _open(self, request: Request | Completion, *, stream: bool) -> Iterator["httpx2.Response"]:
        """Send a request, with retries while the server is busy, and return the open response."""
        if not self.base_url.startswith(("http://", "https://")):
            raise EndpointError(f"{self.base_url!r} is not a URL; it must start with http:// or https://")
        headers = {"Accept-Encoding": "identity"}  # a compressed response could be larger than its limit
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        url, payload = f"{self.base_url}/{request.path}", request.payload() | {"stream": stream}
        with _httpx().Client(timeout=self.timeout_s, headers=headers, follow_redirects=False) as client:
            for attempt in range(self.retries + 1):
                wait = 2.0**attempt / 2
                try:
                    with client.stream("POST", url, json=payload) as response:
                        if response.is_success:
                            yield response
                            return
                        _refuse_redirect(response)
                        body = next(response.iter_bytes(300), b"")
                except _httpx().TransportError as error:
                    reason = str(error) or type(error).__name__
                else:
                    reason = f"HTTP {response.status_code}: {body.decode(errors='replace')}"
                    if response.status_code not in _RETRIED:
                        raise EndpointError(f"{url} refused the request: {reason}")
                    if (retry_after := response.headers.get("Retry-After", "")).isdecimal():
                        wait = float(retry_after)
                if attempt < self.retries:
                    time.sleep(min(wait, _LONGEST_WAIT))
        raise EndpointError(f"{url} did not respond in {self.retries + 1} attempts: {reason}")


def _httpx() -> ModuleType:
    library: ModuleType = import_extra("httpx2", "cli", "an endpoint")  # replaying does not need it
    return library


def _refuse_redirect(response: "httpx2.Response") -> None:
    """Raise EndpointError for a redirect, which would carry the API key and the prompt to another host."""
    if response.is_redirect:
        try:
            target = urlsplit(response.headers.get("Location", ""))
            origin = f"{target.scheme}://{target.hostname}"
        except ValueError:
            origin = "an invalid URL"
        raise EndpointError(
            f"{response.url} redirects to {origin}, and nothing was sent there; "
            "if you trust that host, set OPENAI_BASE_URL or --url to its address"
        )


def _limited(response: "httpx2.Response", max_tokens: int) -> Iterator[bytes]:
    """Yield the chunks of a response until it is longer than the completion can be."""
    left = limit = _OVERHEAD + _PER_TOKEN * max_tokens
    for chunk in response.iter_bytes():
        left -= len(chunk)
        if left < 0:
            raise EndpointError(f"{response.url} sends more than {limit:,} bytes for {max_tokens:,} tokens")
        yield chunk


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split chunks of bytes at newlines."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _text(content: Any) -> str:
    if not isinstance(content, str | None):
        raise TypeError(f"{json.dumps(content)[:80]} is not text")
    return content or ""
