"""What registering a hook returns."""

from __future__ import annotations

import itertools
from collections.abc import MutableMapping
from typing import Any, Self


class RemovableHandle:
    """Removes a hook again, by `remove` or at the end of a ``with`` block."""

    _ids = itertools.count()

    def __init__(self, hooks_dict: MutableMapping[int, Any]) -> None:
        self._hooks = hooks_dict
        self.id = next(RemovableHandle._ids)

    def remove(self) -> None:
        """Remove the hook, if it is still there."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
