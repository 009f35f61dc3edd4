"""See torch functions as Python calls them, to know where their integers come from."""

from __future__ import annotations

__all__ = ["Calls"]

import functools
import operator
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._ops import OpOverloadPacket
from torch.overrides import TorchFunctionMode

from prunekit.graph.given import Given
from prunekit.graph.integers import AxisSize, Size, length_of, number_of
from prunekit.graph.tape import Tape

_GUARDS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
"""With these, torch's Python functions ask whether somebody wants to see the call."""

_SHAPE = torch.Tensor.shape.__get__  # type: ignore[attr-defined]
_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]


_ARITHMETIC = (
    "__add__", "__iadd__", "__imul__", "__isub__", "__itruediv__", "__mul__", "__pow__", "__radd__",
    "__rdiv__", "__rmul__", "__rpow__", "__rsub__", "__rtruediv__", "__sub__", "__truediv__", "add",
    "add_", "as_tensor", "div", "div_", "divide", "mul", "mul_", "multiply", "pow", "pow_", "rsub",
    "scalar_tensor", "sub", "sub_", "subtract", "tensor", "true_divide",
)  # fmt: skip

_VALUES = {
    **dict.fromkeys(_ARITHMETIC, 0),
    **dict.fromkeys(("clamp", "clamp_", "clip", "fill_", "full", "full_like"), 1),
    **dict.fromkeys(("masked_fill", "masked_fill_", "new_full"), 2),
}
"""Functions whose integers are values, and no sizes, from which argument on."""

_NAMED = frozenset({"alpha", "exponent", "fill_value", "max", "min", "other", "value"})
"""Those of their named arguments that are values too."""


class Calls(TorchFunctionMode):
    """Tells a tape whose integers the next operators get, and hands out sizes for shapes.

    Without `sizes`, shapes are plain, and every integer of a caller is a literal.
    """

    def __init__(
        self, tape: Tape, *, sizes: bool, left: Callable[[AxisSize], int] | None = None
    ) -> None:
        """Hand out what is `left` of an axis, if that is told, in the place of its length."""
        super().__init__()
        self._tape = tape
        self._left = left
        self._entered: set[Any] = set()
        self._open: dict[Any, Callable[..., Any] | None] = {}
        self._globals: dict[int, dict[str, Any]] = {}
        self._special: dict[Any, Callable[..., Any]] = {
            _SET_DATA: self._set_data,
            Tensor.numpy: functools.partial(self._escape, Tensor.numpy),
            Tensor.tolist: functools.partial(self._escape, Tensor.tolist),
            Tensor.__array__: functools.partial(self._escape, Tensor.__array__),
            torch.gru: functools.partial(_rnn, torch.ops.aten.gru),
            torch.lstm: functools.partial(_rnn, torch.ops.aten.lstm),
            torch.rnn_relu: functools.partial(_rnn, torch.ops.aten.rnn_relu),
            torch.rnn_tanh: functools.partial(_rnn, torch.ops.aten.rnn_tanh),
        }
        if sizes:
            self._special |= {
                _SHAPE: self._shape,
                Tensor.size: self._size,
                Tensor.numel: self._numel,
                Tensor.nelement: self._numel,
                torch.numel: self._numel,
                Tensor.__len__: self._len,
            }

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        special = self._special.get(func)
        if special is not None:
            return special(*args, **kwargs)
        first = _VALUES.get(getattr(func, "__name__", ""))
        if first is not None:
            args = (*args[:first], *map(number_of, args[first:]))
            kwargs = {k: number_of(x) if k in _NAMED else x for k, x in kwargs.items()}
        opened = None if func in self._entered else self._opened(func)
        if self._left is not None and opened is None:
            args, kwargs = _as_lengths(args), _as_lengths(kwargs)
        outer, self._tape.given = self._tape.given, Given(func, args, kwargs)
        try:
            return (
                func(*args, **kwargs) if opened is None else self._call(func, opened, args, kwargs)
            )
        finally:
            self._tape.given = outer

    def _call(
        self,
        func: Any,
        opened: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Call a function that is written in Python, seeing the calls inside it too."""
        self._entered.add(func)
        try:
            with self:
                return opened(*args, **kwargs)
        finally:
            self._entered.discard(func)

    def _opened(self, func: Any) -> Callable[..., Any] | None:
        """The function without its guards, which would hand every call to this mode for ever.

        None for functions without guards. It is a copy: torch's own function is untouched.
        """
        if func not in self._open:
            self._open[func] = self._copied(func) if _is_guarded(func) else None
        return self._open[func]

    def _copied(self, func: types.FunctionType) -> Callable[..., Any]:
        key = id(func.__globals__)
        if key not in self._globals:
            unguarded = {name: _nobody for name in _GUARDS if name in func.__globals__}
            self._globals[key] = {**func.__globals__, **unguarded}
        copied = types.FunctionType(
            func.__code__, self._globals[key], func.__name__, func.__defaults__, func.__closure__
        )
        copied.__kwdefaults__ = func.__kwdefaults__
        return copied

    def _shape(self, tensor: Tensor, *_: object) -> torch.Size:
        if is_functorch_wrapped_tensor(tensor):  # inside `vmap` operators see another tensor
            return tensor.shape
        number = self._tape.value(tensor).index
        axes = [AxisSize(number, dim) for dim in range(tensor.ndim)]
        left = tensor.shape if self._left is None else map(self._left, axes)
        sized = zip(left, axes, tensor.shape, strict=True)
        return torch.Size(Size(n, axis, length=length) for n, axis, length in sized)

    def _size(self, tensor: Tensor, dim: int | None = None) -> torch.Size | int:
        shape = self._shape(tensor)
        if dim is None or not isinstance(dim, int):
            return shape if dim is None else tensor.size(dim)
        if not -len(shape) <= dim < len(shape):
            return tensor.size(dim)  # torch's own error
        return shape[dim]

    def _numel(self, tensor: Tensor) -> int:
        shape = self._shape(tensor)
        return functools.reduce(operator.mul, shape) if shape else 1

    def _len(self, tensor: Tensor) -> int:
        """It can be no `Size`, so it is taken for a value."""
        shape = self._shape(tensor)
        return int(number_of(shape[0])) if shape else len(tensor)

    def _set_data(self, tensor: Tensor, source: Tensor) -> None:
        _SET_DATA(tensor, source)
        self._tape.replace(tensor, source)

    def _escape(self, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = func(tensor, *args, **kwargs)
        self._tape.escape(tensor)
        return result


def _as_lengths(argument: Any) -> Any:
    """What torch is told in the place of sizes."""
    match argument:
        case Size():
            return argument.length
        case slice():
            return slice(*map(length_of, (argument.start, argument.stop, argument.step)))
        case dict():
            return {key: _as_lengths(value) for key, value in argument.items()}
        case tuple() | list() if type(argument) in (tuple, list, torch.Size):
            return type(argument)([_as_lengths(value) for value in argument])
        case _:
            return argument


def _rnn(packet: OpOverloadPacket, data: Tensor, second: Any, *rest: Any) -> Any:
    """Run a recurrent layer as products and gates: fused kernels differ by device.

    The second argument tells a packed sequence (its batch sizes, a tensor) from the initial state.
    """
    overload = (
        packet.data
        if isinstance(second, Tensor) and not second.is_floating_point()
        else packet.input
    )
    if data.device.type != "cpu":
        return overload.decompose(data, second, *rest)
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # `torch.backends.mkldnn.flags` warns of other flags
    try:
        return overload(data, second, *rest)
    finally:
        torch._C._set_mkldnn_enabled(before)


def _is_guarded(func: Any) -> bool:
    return isinstance(func, types.FunctionType) and any(g in func.__globals__ for g in _GUARDS)


def _nobody(*_: object) -> bool:
    return False
