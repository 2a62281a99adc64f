"""What registering a hook returns."""

import itertools


class RemovableHandle:
    """Removes a hook again, by `remove` or at the end of a ``with`` block."""

    _ids = itertools.count()

    def __init__(self, hooks_dict):
        self._hooks = hooks_dict
        self.id = next(RemovableHandle._ids)

    def remove(self):
        """Remove the hook, if it is still there."""
        self._hooks.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()
