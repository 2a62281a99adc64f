"""Methods that other files add to Tensor; for mypy only. A test compares them with what is added."""

import builtins
from typing import Any, Literal, overload

from torch import (
    casting,
    creation,
    cumulative,
    filled,
    gathering,
    indexing,
    joining,
    linalg,
    masking,
    norms,
    ordering,
    printing,
    products,
    python_values,
    random_filling,
    random_tensors,
    reductions,
    slicing,
    softmaxes,
    statistics,
    views,
)
from torch.autograd import methods as gradient_methods
from torch.elementwise_methods import Elementwise
from torch.tensor import Tensor
from torch.tuples import Named
from torch.types import Device, Dims, DType

class Methods(Elementwise):
    reshape = views.reshape
    view = views.view
    view_as = views.view_as
    reshape_as = views.reshape_as
    flatten = views.flatten
    ravel = views.ravel
    unflatten = views.unflatten
    transpose = views.transpose
    t = views.t
    permute = views.permute
    movedim = views.movedim
    mT: Tensor
    T: Tensor
    H: Tensor
    mH: Tensor
    unsqueeze = views.unsqueeze
    squeeze = views.squeeze
    expand = views.expand
    expand_as = views.expand_as
    broadcast_to = views.broadcast_to
    swapaxes = views.transpose
    swapdims = views.transpose
    moveaxis = views.movedim

    select = slicing.select
    narrow = slicing.narrow
    split = slicing.split
    chunk = slicing.chunk
    unbind = slicing.unbind
    diagonal = slicing.diagonal
    unfold = slicing.unfold

    clone = joining.clone
    contiguous = joining.contiguous
    flip = joining.flip
    fliplr = joining.fliplr
    flipud = joining.flipud
    roll = joining.roll
    repeat = joining.repeat
    tile = joining.tile
    repeat_interleave = joining.repeat_interleave

    sum = reductions.sum
    mean = reductions.mean
    nansum = reductions.nansum
    nanmean = reductions.nanmean
    prod = reductions.prod
    all = reductions.all
    any = reductions.any
    count_nonzero = reductions.count_nonzero

    def amax(self, dim: Dims = (), keepdim: builtins.bool = False) -> Tensor: ...
    def amin(self, dim: Dims = (), keepdim: builtins.bool = False) -> Tensor: ...
    @overload
    def max(self, dim: Tensor | None = None, keepdim: builtins.bool = False) -> Tensor: ...
    @overload
    def max(self, dim: builtins.int, keepdim: builtins.bool = False) -> Named: ...
    @overload
    def min(self, dim: Tensor | None = None, keepdim: builtins.bool = False) -> Tensor: ...
    @overload
    def min(self, dim: builtins.int, keepdim: builtins.bool = False) -> Named: ...
    def argmax(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor: ...
    def argmin(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor: ...
    @overload
    def median(self, dim: None = None, keepdim: builtins.bool = False) -> Tensor: ...
    @overload
    def median(self, dim: builtins.int, keepdim: builtins.bool = False) -> Named: ...

    var = statistics.var
    std = statistics.std
    quantile = statistics.quantile
    nanquantile = statistics.nanquantile

    logsumexp = softmaxes.logsumexp
    softmax = softmaxes.softmax
    log_softmax = softmaxes.log_softmax

    cumsum = cumulative.cumsum
    cumprod = cumulative.cumprod
    def cummax(self, dim: builtins.int) -> Named: ...
    def cummin(self, dim: builtins.int) -> Named: ...
    logcumsumexp = cumulative.logcumsumexp
    diff = cumulative.diff

    __getitem__ = indexing.__getitem__
    __setitem__ = indexing.__setitem__
    copy_ = indexing.copy_
    index_put_ = indexing.index_put_
    index_put = indexing.index_put

    gather = gathering.gather
    scatter = gathering.scatter
    scatter_add = gathering.scatter_add
    scatter_reduce = gathering.scatter_reduce
    take_along_dim = gathering.take_along_dim
    take = gathering.take
    index_select = gathering.index_select
    index_add = gathering.index_add
    index_copy = gathering.index_copy
    index_fill = gathering.index_fill

    where = masking._where
    masked_fill = masking.masked_fill
    masked_select = masking.masked_select
    masked_scatter = masking.masked_scatter
    @overload
    def nonzero(self, *, as_tuple: Literal[False] = False) -> Tensor: ...
    @overload
    def nonzero(self, *, as_tuple: Literal[True]) -> tuple[Tensor, ...]: ...
    argwhere = masking.argwhere
    def tril(self, diagonal: builtins.int = 0) -> Tensor: ...
    def triu(self, diagonal: builtins.int = 0) -> Tensor: ...
    diag = masking.diag
    diag_embed = masking.diag_embed

    sort = ordering.sort
    argsort = ordering.argsort
    topk = ordering.topk
    kthvalue = ordering.kthvalue
    bincount = ordering.bincount
    unique = ordering.unique
    unique_consecutive = ordering.unique_consecutive
    histc = ordering.histc

    mm = products.mm
    bmm = products.bmm
    mv = products.mv
    dot = products.dot
    vdot = products.vdot
    inner = products.inner
    outer = products.outer
    matmul = products.matmul
    addmm = products.addmm
    baddbmm = products.baddbmm
    addmv = products.addmv

    norm = norms._tensor_norm
    dist = norms.dist
    svd = linalg._tensor_svd
    inverse = linalg.inverse

    item = python_values.item
    tolist = python_values.tolist
    numpy = python_values.numpy
    data_ptr = python_values.data_ptr
    storage_offset = python_values.storage_offset
    __array__ = python_values.__array__
    __bool__ = python_values.__bool__
    __int__ = python_values.__int__
    __float__ = python_values.__float__
    __complex__ = python_values.__complex__
    __index__ = python_values.__index__
    __len__ = python_values.__len__
    __contains__ = python_values.__contains__
    __iter__ = python_values.__iter__
    __hash__ = python_values.__hash__
    __format__ = python_values.__format__
    __deepcopy__ = python_values.__deepcopy__
    __reduce_ex__ = python_values.__reduce_ex__

    new_tensor = creation.new_tensor
    def new_zeros(
        self,
        *size: Any,
        dtype: DType | None = None,
        device: Device = None,
        requires_grad: builtins.bool = False,
        **kwargs: Any,
    ) -> Tensor: ...
    def new_ones(
        self,
        *size: Any,
        dtype: DType | None = None,
        device: Device = None,
        requires_grad: builtins.bool = False,
        **kwargs: Any,
    ) -> Tensor: ...
    def new_empty(
        self,
        *size: Any,
        dtype: DType | None = None,
        device: Device = None,
        requires_grad: builtins.bool = False,
        **kwargs: Any,
    ) -> Tensor: ...
    new_full = filled.new_full

    to = casting.to
    def bool(self, memory_format: object = None) -> Tensor: ...
    def byte(self, memory_format: object = None) -> Tensor: ...
    def char(self, memory_format: object = None) -> Tensor: ...
    def short(self, memory_format: object = None) -> Tensor: ...
    def int(self, memory_format: object = None) -> Tensor: ...
    def long(self, memory_format: object = None) -> Tensor: ...
    def half(self, memory_format: object = None) -> Tensor: ...
    def bfloat16(self, memory_format: object = None) -> Tensor: ...
    def float(self, memory_format: object = None) -> Tensor: ...
    def double(self, memory_format: object = None) -> Tensor: ...
    def cfloat(self, memory_format: object = None) -> Tensor: ...
    def cdouble(self, memory_format: object = None) -> Tensor: ...
    type_as = casting.type_as
    @overload
    def type(self, dtype: None = None) -> str: ...
    @overload
    def type(self, dtype: DType) -> Tensor: ...
    cpu = casting.cpu
    cuda = casting.cuda
    pin_memory = casting.pin_memory
    fill_ = casting.fill_
    zero_ = casting.zero_
    set_ = casting.set_
    share_memory_ = casting.share_memory_
    resolve_conj = casting.resolve_conj
    resolve_neg = casting.resolve_neg

    bernoulli = random_tensors.bernoulli
    multinomial = random_tensors.multinomial
    uniform_ = random_filling.uniform_
    normal_ = random_filling.normal_
    exponential_ = random_filling.exponential_
    bernoulli_ = random_filling.bernoulli_
    random_ = random_filling.random_

    __repr__ = printing.__repr__

    register_hook = gradient_methods.register_hook
    register_post_accumulate_grad_hook = gradient_methods.register_post_accumulate_grad_hook
    retain_grad = gradient_methods.retain_grad

    backward = gradient_methods.backward
