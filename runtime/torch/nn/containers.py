"""Modules that hold modules."""

import operator

from torch.nn.module import Module


class _Numbered(Module):
    """Submodules that are named by their position."""

    def _name(self, index):
        n = len(self)
        if not -n <= operator.index(index) < n:
            raise IndexError(f"index {index} is out of range")
        return list(self._modules)[index]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._made_of(list(self._modules.items())[index])
        return self._modules[self._name(index)]

    def __setitem__(self, index, module):
        setattr(self, self._name(index), module)

    def __delitem__(self, index):
        modules = list(self)
        del modules[index]
        self._renumber(modules)

    def _renumber(self, modules):
        self._modules.clear()
        self.extend(modules)

    def append(self, module):
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules):
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index, module):
        """Add a module before the one at a position."""
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)


class Sequential(_Numbered):
    """Modules that are called one after the other; they come in order, or by name in one dict."""

    def __init__(self, *args):
        super().__init__()
        is_dict = len(args) == 1 and isinstance(args[0], dict)
        for name, module in args[0].items() if is_dict else enumerate(args):
            self.add_module(str(name), module)

    def _made_of(self, members):
        return type(self)(dict(members))

    def forward(self, input):
        for module in self:
            input = module(input)
        return input


class ModuleList(_Numbered):
    """A list of modules."""

    def __init__(self, modules=None):
        super().__init__()
        self.extend(modules or ())

    def _made_of(self, members):
        return type(self)(module for _, module in members)

    def __iadd__(self, modules):
        return self.extend(modules)

    def __repr__(self):
        """Runs of modules that print alike are printed once, with their number."""
        runs = []  # [first, last, text]
        for i, text in enumerate(repr(module) for module in self):
            if runs and runs[-1][2] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i, text])
        lines = [
            f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]
        body = "".join("\n  " + line.replace("\n", "\n  ") for line in lines)
        return f"{self._get_name()}({body}\n)" if lines else f"{self._get_name()}()"


class ModuleDict(Module):
    """Modules by name."""

    def __init__(self, modules=None):
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key):
        return self._modules[key]

    def __setitem__(self, key, module):
        self.add_module(key, module)

    def __delitem__(self, key):
        del self._modules[key]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, key):
        return key in self._modules

    def keys(self):
        """The names."""
        return self._modules.keys()

    def values(self):
        """The modules."""
        return self._modules.values()

    def items(self):
        """Names and modules."""
        return self._modules.items()

    def pop(self, key):
        """Remove a module and return it."""
        return self._modules.pop(key)

    def clear(self):
        """Remove all."""
        self._modules.clear()

    def update(self, modules):
        """Add modules from a dict or from pairs."""
        for key, module in dict(modules).items():
            self[key] = module
