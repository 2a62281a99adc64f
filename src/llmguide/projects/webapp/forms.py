"""What an application lets in: fields of a JSON object within limits, and so many requests in a while.

Each refusal names the field, what was sent and what is allowed, and has the HTTP status that fits.
"""

import json
from collections import deque
from collections.abc import Collection
from http import HTTPStatus
from math import ceil
from time import monotonic
from typing import Any

from tornado.web import HTTPError

MOST_TEXTS = 4  # of a list


class RefusedError(HTTPError):
    """A request that is refused, with a reason that its sender may read.

    Attributes:
        message: Reason, shown to the user.
        wait: Seconds after which the same request may be granted; 0 if never.
    """

    def __init__(self, status: int, message: str, *, wait: int = 0):
        super().__init__(status)
        self.message, self.wait = message, wait


class Form:
    """The fields of a JSON object, each of which has to be asked for.

    >>> form = Form(b'{"text": "Once", "heat": 0.5}')
    >>> form.text("text", most=10), form.number("heat", 0, 2), form.choice("style", ("", "plain"), "")
    ('Once', 0.5, '')
    >>> form.end()
    """

    def __init__(self, body: bytes):
        try:
            self._fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the request is no JSON: {error}") from error
        if not isinstance(self._fields, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the request must be a JSON object")

    def text(self, name: str, *, most: int, least: int = 0, default: str | None = None) -> str:
        """Take a text of so many characters; without a default it must be there."""
        return _text(name, self._take(name, default), least, most)

    def texts(self, name: str, *, most: int) -> tuple[str, ...]:
        """Take a text or a list of texts, each of at most so many characters; left out there are none."""
        found = self._take(name, [])
        listed = found if isinstance(found, list) else [found]
        if len(listed) > MOST_TEXTS:
            raise _wrong(name, f"{len(listed)} texts", f"must be at most {MOST_TEXTS}")
        return tuple(_text(name, one, 1, most) for one in listed)

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """Take a number of a range."""
        found = self._take(name, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
            raise _wrong(name, found, f"must be a number from {low} to {high}")
        return found

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Take a whole number of a range."""
        found = self.number(name, low, high, default)
        if found != int(found):
            raise _wrong(name, found, "must be a whole number")
        return int(found)

    def choice(self, name: str, options: Collection[str], default: str | None = None) -> str:
        """Take one of some words."""
        found = self._take(name, default)
        if not isinstance(found, str) or found not in options:
            raise _wrong(name, found, f"must be one of {', '.join(map(repr, options))}")
        return found

    def flag(self, name: str) -> bool:
        """Take a yes or no, which is no if it is left out."""
        found = self._take(name, False)
        if not isinstance(found, bool):
            raise _wrong(name, found, "must be true or false")
        return found

    def end(self) -> None:
        """Refuse fields that nobody has asked for: a misspelled one must not count as left out."""
        if self._fields:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"no such field: {', '.join(sorted(self._fields))[:200]}"
            )

    def _take(self, name: str, default: Any) -> Any:
        if name not in self._fields and default is None:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the field {name!r} is missing")
        found = self._fields.pop(name, default)
        return default if found is None and default is not None else found


class Rate:
    """So many requests in so many seconds, and no more.

    >>> rate = Rate(2, seconds=60)
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
        """Count a request, or refuse it."""
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
    # PostgreSQL stores no NUL, and nobody half a pair
    if "\0" in found or any("\ud800" <= character <= "\udfff" for character in found):
        raise _wrong(name, "a NUL or half a surrogate pair", "must be text that can be stored")
    return found


def _wrong(name: str, found: Any, wanted: str) -> RefusedError:
    shown = found if isinstance(found, str) else json.dumps(found)
    return RefusedError(HTTPStatus.BAD_REQUEST, f"{name}: {shown[:80]} {wanted}")
