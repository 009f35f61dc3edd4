"""What other counters say of a network: fvcore and thop beside our own figure."""

from __future__ import annotations

__all__ = ["CounterResult", "cross_check"]

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunekit.graph import clone_model, uncached
from prunekit.measure.cost import count_macs, count_params


@dataclass(frozen=True)
class CounterResult:
    """The figures of one counter at the size of the inputs."""

    counter: str  # "prunekit", "fvcore" or "thop"
    macs: int | None  # None: the counter failed
    params: int | None
    note: str  # what it left out, or why it failed


_Counter = Callable[[nn.Module, tuple[Tensor, ...]], tuple[int, int, str]]


def cross_check(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[CounterResult, ...]:
    """Ask every counter for macs and parameters at the same inputs; never raises.

    fvcore and thop run the network on the inputs, each a copy of its own.
    """
    counters: dict[str, _Counter] = {"prunekit": _own, "fvcore": _fvcore, "thop": _thop}
    return tuple(_ask(name, counter, model, inputs) for name, counter in counters.items())


def _ask(
    name: str, counter: _Counter, model: nn.Module, inputs: tuple[Tensor, ...]
) -> CounterResult:
    try:
        with warnings.catch_warnings(), torch.no_grad(), uncached(model, scripted=True):
            # Their last releases are older than what they import.
            warnings.simplefilter("ignore", DeprecationWarning)
            macs, params, note = counter(model, inputs)
    except Exception as error:  # noqa: BLE001 - a second opinion must not end a run
        reason = next(iter(str(error).splitlines()), "no reason given")
        return CounterResult(name, None, None, f"failed: {type(error).__name__}: {reason}")
    return CounterResult(name, macs, params, note)


def _own(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int, int, str]:
    return count_macs(model, inputs), count_params(model), ""


def _fvcore(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int, int, str]:
    from fvcore.nn import FlopCountAnalysis, parameter_count  # noqa: PLC0415 - slow to import

    own = clone_model(model).eval()
    analysis = FlopCountAnalysis(own, tuple(x.clone() for x in inputs))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    macs = int(analysis.total())  # its flop is one multiply-accumulate
    missed = sorted(name.removeprefix("aten::") for name in analysis.unsupported_ops())
    return macs, int(parameter_count(own)[""]), _left_out(missed)


def _thop(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int, int, str]:
    import thop  # noqa: PLC0415 - slow to import, and needs distutils

    own = clone_model(model).eval()
    known = tuple(sys.modules["thop.profile"].register_hooks)
    leaves = {type(module) for module in own.modules() if not list(module.children())}
    missed = sorted(kind.__name__ for kind in leaves if kind not in known)
    macs, params = thop.profile(own, inputs=tuple(x.clone() for x in inputs), verbose=False)
    return int(macs), int(params), _left_out(missed)


def _left_out(missed: list[str]) -> str:
    return f"leaves out {', '.join(missed)}" if missed else ""
