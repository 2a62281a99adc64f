"""Validation of requests: fields of a JSON object, and rate limits.

Each error names the field, the value sent and the values allowed, and has the appropriate HTTP status.
"""

import json
from collections import deque
from collections.abc import Collection
from http import HTTPStatus
from math import ceil
from time import monotonic
from typing import Any

from tornado.web import HTTPError

MAX_TEXTS = 4  # texts of a list
LARGEST_DOCUMENT = 100_000  # characters


class RefusedError(HTTPError):
    """A rejected request, with a reason for the client.

    Attributes:
        message: Reason, shown to the user.
        wait: Seconds after which the client may retry; 0: never.
    """

    def __init__(self, status: int, message: str, *, wait: int = 0):
        super().__init__(status)
        self.message, self.wait = message, wait


class Form:
    """The fields of a JSON object; each is validated as it is read, and unread ones are an error.

    >>> form = Form(b'{"text": "Once", "heat": 0.5}')
    >>> form.text("text", most=10), form.number("heat", 0, 2), form.choice("style", ("", "plain"), "")
    ('Once', 0.5, '')
    >>> form.reject_unread()
    """

    def __init__(self, body: bytes):
        try:
            self._fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the request is not JSON: {error}") from error
        if not isinstance(self._fields, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the request must be a JSON object")

    def text(self, name: str, *, most: int, least: int = 0, default: str | None = None) -> str:
        """Read a text of ``least`` to ``most`` characters; required unless it has a default."""
        return _text(name, self._take(name, default), least, most)

    def texts(self, name: str, *, most: int) -> tuple[str, ...]:
        """Read a text or a list of texts, each of at most ``most`` characters; empty if missing."""
        found = self._take(name, [])
        listed = found if isinstance(found, list) else [found]
        if len(listed) > MAX_TEXTS:
            raise _wrong(name, f"{len(listed)} texts", f"must be at most {MAX_TEXTS}")
        return tuple(_text(name, one, 1, most) for one in listed)

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """Read a number between ``low`` and ``high``."""
        found = self._take(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
            raise _wrong(name, found, f"must be a number from {low} to {high}")
        return found

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Read an integer between ``low`` and ``high``."""
        found = self.number(name, low, high, default)
        if found != int(found):
            raise _wrong(name, found, "must be a whole number")
        return int(found)

    def choice(self, name: str, options: Collection[str], default: str | None = None) -> str:
        """Read one of several options."""
        found = self._take(name, default)
        if not isinstance(found, str) or found not in options:
            raise _wrong(name, found, f"must be one of {', '.join(map(repr, options))}")
        return found

    def boolean(self, name: str) -> bool:
        """Read a boolean; false if missing."""
        found = self._take(name, False)
        if not isinstance(found, bool):
            raise _wrong(name, found, "must be true or false")
        return found

    def reject_unread(self) -> None:
        """Reject fields that were not read, so that a misspelled one does not count as missing."""
        if self._fields:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"no such field: {', '.join(sorted(self._fields))[:200]}"
            )

    def _take(self, name: str, default: Any) -> Any:
        if name not in self._fields and default is None:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the field {name!r} is missing")
        found = self._fields.pop(name, default)
        return default if found is None and default is not None else found


class RateLimit:
    """A sliding-window rate limit: at most ``most`` requests in any ``seconds``.

    >>> rate = RateLimit(2, seconds=60)
    >>> rate.take(now=0.0), rate.take(now=1.0), rate.take(now=60.0)
    (None, None, None)
    >>> try:
    ...     rate.take(now=60.5)
    ... except RefusedError as refusal:
    ...     print(refusal.message)
    2 requests in 60 seconds are the limit; try again in 1 s
    """

    def __init__(self, most: int, *, seconds: float):
        self.most, self.seconds = most, seconds
        self._taken: deque[float] = deque(maxlen=most)

    def take(self, now: float | None = None) -> None:
        """Count a request, or reject it if the limit is reached."""
        now = monotonic() if now is None else now
        if len(self._taken) == self.most and (wait := self._taken[0] + self.seconds - now) > 0:
            limit = f"{self.most} requests in {self.seconds:.0f} seconds are the limit"
            message = f"{limit}; try again in {ceil(wait)} s"
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, message, wait=ceil(wait))
        self._taken.append(now)


def _text(name: str, found: Any, least: int, most: int) -> str:
    if not isinstance(found, str):
        raise _wrong(name, found, "must be a text")
    if not least <= len(found) <= most:
        raise _wrong(name, f"{len(found):,} characters", f"must have {least:,} to {most:,}")
    # PostgreSQL cannot store NUL, and UTF-8 cannot encode an unpaired surrogate
    if "\0" in found or any("\ud800" <= character <= "\udfff" for character in found):
        raise _wrong(name, "a NUL or half a surrogate pair", "must be text that can be stored")
    return found


def _wrong(name: str, found: Any, wanted: str) -> RefusedError:
    shown = found if isinstance(found, str) else json.dumps(found)
    return RefusedError(HTTPStatus.BAD_REQUEST, f"{name}: {shown[:80]} {wanted}")
