"""How long networks take, measured in turns so that a drift of the machine hits all alike."""

from __future__ import annotations

__all__ = ["Latency", "measure_latency"]

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from prunekit.measure.mode import in_mode, placement
from prunekit.progress import Progress


@dataclass(frozen=True)
class Latency:
    """The time of one forward pass, with what it was measured on."""

    median_ms: float
    min_ms: float
    max_ms: float
    repeats: int  # timed passes, after the warm-up
    input_size: tuple[int, int]  # width, height
    device: str  # "cpu", or the name of the GPU
    threads: int  # of the CPU
    frames: int | None = None  # of the clip that a pass is given; None: an image
    dtype: str = "float32"


def measure_latency(
    models: Mapping[str, nn.Module],
    *,
    input_shape: tuple[int, ...],
    repeats: int,
    warmup: int,
    progress: Progress,
) -> dict[str, Latency]:
    """Time a forward pass of every network, one pass of each in turn, in evaluation mode.

    `input_shape` is that of images `(N, C, H, W)` or of clips `(N, T, C, H, W)`.
    """
    progress.start("measure latency", warmup + repeats)
    inputs = {name: _noise(model, input_shape) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    with ExitStack() as modes, torch.no_grad():
        for model in models.values():
            modes.enter_context(in_mode(model, training=False))
        for turn in range(warmup + repeats):
            for name, model in models.items():
                milliseconds = _time_once(model, inputs[name])
                if turn >= warmup:
                    times[name].append(milliseconds)
            progress.advance()
    progress.finish(", ".join(f"{name} {median(taken):.1f} ms" for name, taken in times.items()))
    return {name: _latency(times[name], inputs[name]) for name in models}


def _noise(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Make a random image, the same every time and without touching the global generator."""
    device, dtype = placement(model)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _time_once(model: nn.Module, batch: Tensor) -> float:
    """Return the milliseconds of one pass; on a GPU between two events on its stream."""
    if batch.device.type != "cuda":
        started = time.perf_counter()
        model(batch)
        return (time.perf_counter() - started) * 1000
    with torch.cuda.device(batch.device):
        start, end = _event(), _event()
        start.record()
        model(batch)
        end.record()
        end.synchronize()
    return float(start.elapsed_time(end))


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _latency(times: list[float], batch: Tensor) -> Latency:
    cuda = batch.device.type == "cuda"
    return Latency(
        median_ms=median(times),
        min_ms=min(times),
        max_ms=max(times),
        repeats=len(times),
        input_size=(batch.shape[-1], batch.shape[-2]),
        device=torch.cuda.get_device_name(batch.device) if cuda else batch.device.type,
        threads=torch.get_num_threads(),
        frames=batch.shape[1] if batch.ndim == len(("N", "T", "C", "H", "W")) else None,
        dtype=str(batch.dtype).removeprefix("torch."),
    )
