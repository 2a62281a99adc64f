"""Out of tensors: Python numbers and lists, numpy arrays, copies and pickles."""

import numpy as np

from torch import dtypes
from torch.tensor import Tensor, method


@method
def item(self):
    """The only element, as a Python number."""
    array = self._array
    if array.size != 1:
        raise RuntimeError(f"a Tensor with {array.size} elements cannot be converted to Scalar")
    return array.item()


@method
def tolist(self):
    """Nested lists of Python numbers, or one number."""
    return self._array.tolist()


@method
def numpy(self, *, force=False):
    """The same memory as a numpy array."""
    if self.requires_grad and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if self.dtype is dtypes.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    if self.dtype is dtypes.float16:
        return self._array.astype(np.float16)
    return self._array


@method
def __array__(self, dtype=None, copy=None):
    array = self.numpy()
    return array if dtype is None else array.astype(dtype, copy=False)


@method
def __bool__(self):
    array = self._array
    if array.size != 1:
        if array.size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(array.item())


@method
def __int__(self):
    return int(self.item())


@method
def __float__(self):
    return float(self.item())


@method
def __complex__(self):
    return complex(self.item())


@method
def __index__(self):
    if self.dtype.kind > 1 or self._array.size != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self._array.item())


@method
def __len__(self):
    if self._array.ndim == 0:
        raise TypeError("len() of a 0-d tensor")
    return len(self._array)


@method
def __contains__(self, element):
    return bool((self == element).any())


@method
def __iter__(self):
    if self._array.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


@method
def __hash__(self):
    return id(self)


@method
def __format__(self, spec):
    if self._array.ndim == 0 and type(self) is Tensor:
        return format(self.item(), spec)
    return object.__format__(self, spec)


@method
def __deepcopy__(self, memo):
    if id(self) in memo:
        return memo[id(self)]
    if self._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol "
            "at the moment.  If you were attempting to deepcopy a module, this may be because of a "
            "torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
        )
    out = object.__new__(type(self))
    memo[id(self)] = out
    out._array, out.dtype = self._array.copy(), self.dtype
    if self._wants_grad:
        out._wants_grad = True
    if self._grad is not None:
        out._grad = self._grad.__deepcopy__(memo)
    return out


@method
def __reduce_ex__(self, protocol):
    return _rebuild, (
        type(self),
        np.ascontiguousarray(self._array).reshape(self._array.shape),
        self.dtype,
        self._wants_grad,
    )


def _rebuild(cls, array, dtype, requires_grad):
    out = object.__new__(cls)
    out._array, out.dtype = array, dtype
    if requires_grad:
        out._wants_grad = True
    return out
