"""The named tuples that operations with several results return."""


class _Named(tuple):
    __slots__ = ()
    _fields = ()

    def __repr__(self):
        body = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{body})"

    def __getattr__(self, name):
        if name in self._fields:
            return self[self._fields.index(name)]
        raise AttributeError(f"'torch.return_types.{type(self).__name__}' object has no attribute '{name}'")


_types = {}


def named(name, **values):
    """A tuple of the values, which can be had by name as well."""
    if name not in _types:
        _types[name] = type(name, (_Named,), {"__slots__": (), "_fields": tuple(values)})
    return tuple.__new__(_types[name], values.values())
