"""Evidence: everything that a criterion needs to know of a network on calibration images."""

from __future__ import annotations

__all__ = ["NOTHING", "Evidence", "gather"]

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prunekit.errors import DataError, PlanError, brief
from prunekit.graph import ChannelGroup, Member, clone_model, own_randomness
from prunekit.progress import Progress
from prunekit.score.calibrate import Calibration, loss_of, run_on
from prunekit.score.criteria import Criterion, Need, Observer
from prunekit.score.signals import LayerSignals, watch
from prunekit.score.slices import Layers, Signals, read_channels, rows, split_name

_Place = tuple[str, int]
"""A tensor and an axis."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured; what was not is empty."""

    squares: Mapping[str, Tensor] = field(default_factory=dict)
    """Mean over batches of the squared gradient, by parameter."""
    products: Mapping[tuple[str, _Place], Tensor] = field(default_factory=dict)
    """`(batches, units)`: weight times gradient, summed over a slice, by group and place."""
    signals: Mapping[str, LayerSignals] = field(default_factory=dict)
    """By path of layer."""
    changes: Mapping[str, Tensor] = field(default_factory=dict)
    """`(units,)`: mean square by which the output changes without a unit, by group."""
    model: nn.Module | None = None
    """A copy of the network whose parameters have the mean gradients."""

    def of(self, group: ChannelGroup, member: Member, layers: Layers) -> dict[str, object]:
        """What was measured of one slice, on the device of its tensor."""
        device = layers.model.get_parameter(member.tensor).device
        products = self.products.get((group.name, (member.tensor, member.axis)))
        change, signals = self.changes.get(group.name), self._signals(member, layers)
        found: dict[str, object] = {
            "products": None if products is None else products.to(device),
            "change": None if change is None else change.to(device),
            "signals": None if signals is None else signals.to(device),
        }
        if member.tensor in self.squares:
            found["squares"] = rows(member, self.squares[member.tensor])
        return found

    def _signals(self, member: Member, layers: Layers) -> Signals | None:
        path, _ = split_name(member.tensor)
        seen, role = self.signals.get(path), layers.role(member.tensor, member.axis)
        if seen is None or role not in ("makes", "reads"):
            return None
        channels = torch.from_numpy(member.indices)
        if role == "makes":
            return seen.of_makes(channels)
        return seen.of_reads(torch.from_numpy(read_channels(layers.modules[path], member.indices)))


NOTHING = Evidence()


def gather(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    criterion: Criterion,
    calibration: Calibration | None,
    *,
    outputs: Collection[_Place] = (),
    progress: Progress,
) -> Evidence:
    """Measure what the criterion needs, on a copy of the model in evaluation mode.

    Raises:
        DataError: it needs images and there is no calibration data.
        PlanError: the network fails on them, or loss or gradients are not finite.
    """
    if calibration is None:
        if criterion.needs:
            message = (
                f"criterion '{criterion.name}' looks at images, and there is no calibration data; "
                "name images in 'data.train' (in Python, or pass calibration=), or take a "
                "criterion that looks at weights alone, such as 'l2'"
            )
            raise DataError(message)
        return NOTHING
    needs = criterion.needs | criterion.takes
    if not needs:
        return NOTHING
    copy = clone_model(model).eval()
    probe = _Probe(copy, groups, Layers(copy, outputs), calibration, criterion.observer, progress)
    with own_randomness(copy):
        return probe.run(needs)


@dataclass(frozen=True, eq=False)
class _Probe:
    """Runs a private copy of the network on every batch."""

    model: nn.Module
    groups: Sequence[ChannelGroup]
    layers: Layers
    calibration: Calibration
    observer: Observer | None
    progress: Progress

    def run(self, needs: Collection[Need]) -> Evidence:
        signals = self._watched() if "signals" in needs else {}
        changes = self._switched_off() if "output" in needs else {}
        if "gradients" not in needs:
            return Evidence(signals=signals, changes=changes, model=self.model)
        squares, products = self._differentiated()
        return Evidence(squares, products, signals, changes, self.model)

    @property
    def _parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters())

    def _watched(self) -> Mapping[str, LayerSignals]:
        """What layers read and make."""
        reading = {
            split_name(member.tensor)[0]
            for group in self.groups
            for member in group.members
            if member.tensor in self._parameters
            and self.layers.role(member.tensor, member.axis) == "reads"
        }
        self.progress.start("watch layers", len(self.calibration.batches))
        with torch.no_grad(), watch(self.model, reading) as found:
            for place, batch in enumerate(self.calibration.batches):
                run_on(self.model, batch, place)
                self.progress.advance()
        self.progress.finish(f"{len(found)} layers")
        return found

    def _differentiated(
        self,
    ) -> tuple[dict[str, Tensor], dict[tuple[str, _Place], Tensor]]:
        """Squared gradients of parameters, and products with weights of every slice."""
        parameters = {n: p for n, p in self._parameters.items() if p.is_floating_point()}
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        sums: dict[str, Tensor] = {}
        squares: dict[str, Tensor] = {}
        products: dict[tuple[str, _Place], list[Tensor]] = {}
        self.progress.start("differentiate", len(self.calibration.batches))
        for place in range(len(self.calibration.batches)):
            loss = self._backward(place)
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    sums[name] = sums.get(name, 0) + parameter.grad
                    squares[name] = squares.get(name, 0) + parameter.grad.square()
            for key, product in self._products(parameters):
                products.setdefault(key, []).append(product)
            self.progress.advance(loss=loss)
        count = len(self.calibration.batches)
        for name, parameter in parameters.items():
            parameter.grad = sums[name] / count if name in sums else None
        self.progress.finish()
        means = {name: square / count for name, square in squares.items()}
        return means, {key: torch.stack(each) for key, each in products.items()}

    def _backward(self, place: int) -> float:
        """Gradients of one batch, on the parameters."""
        self.model.zero_grad(set_to_none=True)
        batch = self.calibration.batches[place]
        with self.observer.watching(self.model) if self.observer else nullcontext():
            sr = run_on(self.model, batch, place)
        loss = loss_of(sr, batch.hr, place)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            message = f"the network cannot be differentiated ({brief(error)})"
            raise PlanError(message) from error
        value = float(loss.detach())
        self._check_finite(value, place)
        if self.observer is not None:
            self.observer.after_backward(self.model)
        return value

    def _check_finite(self, loss: float, place: int) -> None:
        bad = [
            name
            for name, parameter in self._parameters.items()
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
        ]
        if bad or not math.isfinite(loss):
            what = f"gradient of '{bad[0]}'" if bad else "loss"
            message = (
                f"the {what} on calibration batch {place} is not finite, so there is nothing to "
                "rank by; look at the images, or take a criterion that looks at weights alone"
            )
            raise PlanError(message)

    def _products(
        self, parameters: Mapping[str, nn.Parameter]
    ) -> list[tuple[tuple[str, _Place], Tensor]]:
        found = []
        for group in self.groups:
            for member in group.members:
                parameter = parameters.get(member.tensor)
                if parameter is not None and parameter.grad is not None:
                    product = rows(member, parameter.detach() * parameter.grad).sum(dim=1)
                    found.append(((group.name, (member.tensor, member.axis)), product.cpu()))
        return found

    def _switched_off(self) -> dict[str, Tensor]:
        """How much the output changes when all slices of a unit are zero, unit by unit."""
        batches = self.calibration.batches
        self.progress.start("switch units off", sum(group.width for group in self.groups))
        with torch.no_grad():
            whole = [run_on(self.model, batch, place) for place, batch in enumerate(batches)]
            changes = {}
            for group in self.groups:
                found = [self._change(group, unit, whole) for unit in range(group.width)]
                changes[group.name] = torch.tensor(found, dtype=torch.float64)
        self.progress.finish()
        return changes

    def _change(self, group: ChannelGroup, unit: int, whole: Sequence[Tensor]) -> float:
        parameters = self._parameters
        members = [member for member in group.members if member.tensor in parameters]
        kept = {m.tensor: parameters[m.tensor].detach().clone() for m in members}
        for member in members:
            indices = torch.from_numpy(member.indices[unit]).to(kept[member.tensor].device)
            parameters[member.tensor].index_fill_(member.axis, indices, 0)
        try:
            total = 0.0
            for place, (batch, before) in enumerate(
                zip(self.calibration.batches, whole, strict=True)
            ):
                after = run_on(self.model, batch, place)
                total += float((after.double() - before.double()).square().mean())
        finally:
            for name, values in kept.items():
                parameters[name].copy_(values)
        self.progress.advance()
        return total / len(whole)
