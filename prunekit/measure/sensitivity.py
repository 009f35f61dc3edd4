"""Measuring what the removal of units of one group alone costs in dB, once and for all."""

from __future__ import annotations

__all__ = ["Measurements", "Probe", "measure_sensitivity", "sample"]

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import nn

from prunekit.data.image import Image, to_8_bits
from prunekit.data.pairs import ImagePair
from prunekit.errors import CacheError, DataError, MeasureError, SurgeryError
from prunekit.files import write_atomic
from prunekit.graph import ChannelGraph
from prunekit.measure.evaluate import super_resolve_pair
from prunekit.measure.mode import placement
from prunekit.measure.quality import psnr_y
from prunekit.plan import Policy, find_choices, plan_units, units_for
from prunekit.plan.choose import Bundle, Scores, Widths
from prunekit.plan.sensitivity import Curve, Sensitivity
from prunekit.progress import Progress
from prunekit.surgery import apply

_FORMAT = "prunekit-measurements/1"
_HIGHEST = 100.0  # dB; an image without error has no PSNR
_DIGITS = 4  # of a PSNR that are kept


class Measurements:
    """PSNR by what was removed, in memory and, where there is a folder, on disk.

    A file holds those of one network on the same images; its name is a digest of both. What is
    measured is written at once, so work that is interrupted goes on where it was. A file may be
    deleted at any time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, float]] = {}

    def find(self, context: str, removed: str) -> float | None:
        """PSNR in dB, if it was measured. Both names are digests."""
        if context not in self._known:
            self._known[context] = self._read(context)
        return self._known[context].get(removed)

    def keep(self, context: str, removed: str, psnr: float) -> None:
        """Remember a PSNR. Raises `CacheError` if the disk does not take it."""
        self._known.setdefault(context, {})[removed] = psnr
        path = self._path(context)
        if path is None:
            return
        # those of another process that measures the same are kept, too
        figures = {**self._read(context), **self._known[context]}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps({"format": _FORMAT, "psnr_y": figures}))
        except OSError as error:
            message = (
                f"measurements cannot be kept in {path.parent}: {error.strerror or error}; name "
                "another folder by PRUNEKIT_CACHE or 'data.cache.folder'"
            )
            raise CacheError(message) from error

    def _path(self, context: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / "sensitivity" / context[:2] / f"{context[2:40]}.json"

    def _read(self, context: str) -> dict[str, float]:
        """What is on disk; nothing if that is not whole or not ours."""
        path = self._path(context)
        try:
            content = json.loads(path.read_bytes()) if path else {}
            figures = dict(content["psnr_y"]) if content.get("format") == _FORMAT else {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}
        return {key: psnr for key, psnr in figures.items() if isinstance(psnr, float)}


@dataclass(frozen=True, eq=False)
class Probe:
    """What sensitivity is measured on."""

    pairs: Sequence[ImagePair]
    border: int
    """Pixels cut off every side before comparing."""
    points: int
    """How many widths of every group are measured at most; the narrowest is always one."""
    measurements: Measurements
    progress: Progress


def sample(pairs: Sequence[ImagePair], count: int, side: int) -> list[ImagePair]:
    """Take the middle of some images, spread evenly over all, with 8 bits.

    Args:
        pairs: to take them of.
        count: how many at most.
        side: of the square in pixels of LR; what is smaller stays whole.
    """
    numbers = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int))
    return [_middle(pairs[number], side) for number in numbers]


def _middle(pair: ImagePair, side: int) -> ImagePair:
    height, width = pair.lr.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    lr, hr = (
        to_8_bits(image[top * k : (top + side) * k, left * k : (left + side) * k])
        for image, k in ((pair.lr, 1), (pair.hr, pair.scale))
    )
    return ImagePair(pair.name, lr, hr)


def measure_sensitivity(
    model: nn.Module,
    graph: ChannelGraph,
    scores: Mapping[str, Scores],
    probe: Probe,
    *,
    policy: Policy,
    held: Mapping[str, str],
) -> Sensitivity:
    """Rebuild the network without the least important units of one group at a time, and score it.

    Groups that only get narrower together are narrowed together. Nothing is zeroed instead: the
    slim network is right for norms, attributes and whatever else follows a width, and it is
    faster. A group without which the network does not run is told in the result.

    Raises:
        PlanError: no group may get narrower.
        MeasureError: the network itself gives no usable image.
        CacheError: measurements cannot be kept.
    """
    bundles = find_choices(graph, policy, held).bundles
    jobs = [(bundle, rung) for bundle in bundles for rung in _points(bundle, probe.points)]
    probe.progress.start("measure sensitivity", len(jobs))
    run = _Run(model, graph, scores, probe)
    psnr: dict[tuple[str, ...], dict[int, float]] = {}
    unfit: dict[str, str] = {}
    for bundle, widths in jobs:
        if unfit.keys().isdisjoint(bundle.groups):
            try:
                found = run.psnr(widths)
            except (MeasureError, SurgeryError) as error:
                why = str(error).split("; ", maxsplit=1)[0]
                unfit |= dict.fromkeys(bundle.groups, f"narrower, {why}")
            else:
                removed = bundle.width - sum(widths.values())
                psnr.setdefault(bundle.groups, {})[removed] = found
                probe.progress.advance(psnr_y=found)
                continue
        probe.progress.advance()
    probe.progress.finish(f"{run.measured} measured, {len(jobs) - run.measured} known before")
    curves = tuple(
        Curve(bundle.groups, bundle.width, tuple(known), tuple(known.values()))
        for bundle in bundles
        if unfit.keys().isdisjoint(bundle.groups) and (known := psnr.get(bundle.groups))
    )
    return Sensitivity(run.dense, curves, unfit, len(probe.pairs), probe.border)


def _points(bundle: Bundle, count: int) -> list[Widths]:
    """Some rungs of a ladder, the widest first, spread evenly down to the narrowest."""
    narrower = bundle.ladder[-2::-1]
    places = np.linspace(len(narrower) - 1, 0, min(count, len(narrower))).round().astype(int)
    return [narrower[place] for place in sorted(set(places.tolist()))]


class _Run:
    """Measures networks without some units, each once."""

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        scores: Mapping[str, Scores],
        probe: Probe,
    ) -> None:
        self._model = model
        self._graph = graph
        self._scores = scores
        self._probe = probe
        outputs = self._outputs(model)
        self.dense = self._mean(outputs)
        self._context = _context(model, graph, probe, outputs)
        self.measured = 0

    def psnr(self, widths: Widths) -> float:
        """PSNR-Y when groups have these widths and all others are whole."""
        kept = units_for(self._scores, widths)
        removed = hashlib.sha256(json.dumps(sorted(kept.items())).encode()).hexdigest()
        known = self._probe.measurements.find(self._context, removed)
        if known is None:
            slim = apply(plan_units(self._graph, kept), self._model)
            known = self._mean(self._outputs(slim))
            self._probe.measurements.keep(self._context, removed, known)
            self.measured += 1
        return known

    def _outputs(self, model: nn.Module) -> list[Image]:
        return [super_resolve_pair(model, pair) for pair in self._probe.pairs]

    def _mean(self, outputs: Sequence[Image]) -> float:
        pairs = zip(outputs, self._probe.pairs, strict=True)
        return round(fmean(_psnr(sr, pair, self._probe.border) for sr, pair in pairs), _DIGITS)


def _psnr(sr: Image, pair: ImagePair, border: int) -> float:
    try:
        return min(psnr_y(sr, pair.hr, border), _HIGHEST)
    except ValueError as error:
        message = f"image '{pair.name}' cannot be scored: {error}; leave it out"
        raise DataError(message) from error


def _context(model: nn.Module, graph: ChannelGraph, probe: Probe, outputs: Sequence[Image]) -> str:
    """Digest of the network, the images and how they are compared.

    What the network makes of the images is part of it, as its code is part of the network.
    """
    device, _ = placement(model)
    digest = hashlib.sha256(f"{_FORMAT} {graph.fingerprint} {device.type}".encode())
    for name, tensor in sorted((*model.named_parameters(), *model.named_buffers())):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    digest.update(f"border {probe.border}".encode())
    for pair, output in zip(probe.pairs, outputs, strict=True):
        for image in (pair.lr, pair.hr, output):
            digest.update(f"{image.shape}".encode())
            digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
