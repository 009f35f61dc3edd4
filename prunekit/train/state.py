"""From a training to a checkpoint, and back to the same bits."""

from __future__ import annotations

__all__ = ["FREE", "Identity", "bytes_of", "content_of", "restore", "snapshot"]

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.errors import TrainError
from prunekit.graph import fingerprint
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Protocol
from prunekit.train.checkpoint import Checkpoint
from prunekit.train.curve import CurveRecorder
from prunekit.train.hooks import TrainHook
from prunekit.train.options import TrainOptions
from prunekit.train.randomness import generators, load_generators
from prunekit.train.trainer import Trainer

FREE = ("checkpoint_every", "keep_last", "timeout", "workers")
"""Settings that may be others when a training goes on."""

_FOLLOWS = "losses"
"""From `loss`."""


@dataclass(frozen=True)
class Identity:
    """What has to be the same for a training to go on."""

    settings: Mapping[str, Any]
    network: str
    weights: int
    """A checksum of those that training begins with, and of the teacher's."""
    images: int
    """A checksum of all images."""
    seed: int
    processes: int
    protocol: Protocol | None = None
    """How held-out images are compared, by which the best checkpoint is chosen."""
    hooks: tuple[str, ...] = ()
    """Names of what takes part in it."""

    @staticmethod
    def of(
        options: TrainOptions,
        networks: Sequence[nn.Module],
        pairs: Sequence[ImagePair] | Sequence[ClipPair],
        *,
        seed: int,
        processes: int,
        protocol: Protocol | None = None,
        hooks: Sequence[TrainHook] = (),
    ) -> Identity:
        """Of a training that is about to begin, of a network and perhaps a teacher."""
        images = 0
        for pair in pairs:
            for image in (pair.lr, pair.hr):
                images = zlib.crc32(np.ascontiguousarray(image).data, images)
        settings = {
            field.name: _plain(getattr(options, field.name))
            for field in fields(options)
            if field.name not in (*FREE, _FOLLOWS)
        }
        weights = 0
        for network in networks:
            for content in content_of(network):
                weights = zlib.crc32(content.data, weights)
        names = tuple(sorted(hook.name for hook in hooks))
        code = fingerprint(networks[0])
        return Identity(settings, code, weights, images, seed, processes, protocol, names)

    def check(self, found: Mapping[str, Any]) -> None:
        """Raise `TrainError` if a checkpoint is of another training."""
        mine = asdict(self)
        settings = found.get("settings", {})
        other = [name for name, value in mine["settings"].items() if settings.get(name) != value]
        other += [
            name
            for name in ("network", "weights", "images", "seed", "protocol", "hooks")
            if found.get(name) != _plain(mine[name])
        ]
        if found.get("processes") != self.processes:
            other.append(f"processes ({found.get('processes')} then, {self.processes} now)")
        if other:
            message = (
                f"the checkpoint is of a training with other {', '.join(other)}; go on with the "
                "same, or remove its folder to begin anew"
            )
            raise TrainError(message)


def _plain(value: object) -> object:
    """As JSON gives it back."""
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def snapshot(
    trainer: Trainer,
    recorder: CurveRecorder,
    identity: Identity,
    *,
    step: int,
    seconds: float,
    score: float | None,
) -> Checkpoint:
    """All that the next step depends on. Every process takes part; the first one's is complete."""
    optimizer, groups = _split_optimizer(trainer.optimizer.state_dict())
    scaler = trainer.processes.accelerator.scaler
    drawn = trainer.processes.gathered(generators(trainer.device))
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": {name: t.detach().cpu() for name, t in _state_of(trainer.inner).items()},
        "optimizer": optimizer,
        **{f"random-{place}": state for place, state in enumerate(drawn)},
    }
    if trainer.average is not None:
        parts["average"] = {n: t.cpu() for n, t in trainer.average.state().items()}
    facts: dict[str, Any] = {
        "identity": asdict(identity),
        "transient": _transient(trainer.inner),
        "groups": groups,
        "scaler": None if scaler is None else scaler.state_dict(),
        "curve": recorder.state(),
        "seconds": seconds,
        "hooks": {},
    }
    for hook in trainer.hooks:
        state = hook.state()
        tensors = {n: v.detach().cpu() for n, v in state.items() if isinstance(v, Tensor)}
        if tensors:
            parts[f"hook-{hook.name}"] = tensors
        facts["hooks"][hook.name] = {n: v for n, v in state.items() if not isinstance(v, Tensor)}
    return Checkpoint(step, parts, facts, score)


def restore(
    checkpoint: Checkpoint, trainer: Trainer, recorder: CurveRecorder, identity: Identity
) -> float:
    """Bring a training to where the checkpoint was made; returns the seconds it had taken.

    Raises `TrainError` if it is of another training.
    """
    identity.check(checkpoint.facts["identity"])
    _load_state(trainer.inner, checkpoint.parts["model"], checkpoint.facts["transient"])
    joined = _join_optimizer(checkpoint.parts["optimizer"], checkpoint.facts["groups"])
    trainer.optimizer.load_state_dict(joined)
    scaler = trainer.processes.accelerator.scaler
    if scaler is not None:
        scaler.load_state_dict(checkpoint.facts["scaler"])
    if trainer.average is not None:
        trainer.average.load(checkpoint.parts["average"])
    hooks = checkpoint.facts["hooks"]
    for hook in trainer.hooks:
        tensors = checkpoint.parts.get(f"hook-{hook.name}", {})
        hook.load_state({**hooks[hook.name], **tensors})
    recorder.load(checkpoint.facts["curve"])
    load_generators(checkpoint.parts[f"random-{trainer.processes.index}"], trainer.device)
    return float(checkpoint.facts["seconds"])


def content_of(model: nn.Module) -> Iterator[NDArray[np.uint8]]:
    """Bytes of every parameter and buffer."""
    for tensor in _state_of(model).values():
        yield bytes_of(tensor)


def bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    """All of a tensor as bytes."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _state_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and all buffers, those that a state dict leaves out as well; tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def _load_state(model: nn.Module, kept: Mapping[str, Tensor], transient: Collection[str]) -> None:
    """Write a state back; buffers that the network makes as it runs, such as masks, are made."""
    state = _state_of(model)
    device, _ = placement(model)
    for name, tensor in kept.items():
        if name in state and state[name].shape == tensor.shape:
            state[name].copy_(tensor)
        else:
            path, _, leaf = name.rpartition(".")
            module, stays = model.get_submodule(path), name not in transient
            module.register_buffer(leaf, tensor.to(device), persistent=stays)


def _transient(model: nn.Module) -> list[str]:
    """Names of the buffers that a state dict leaves out."""
    return sorted(dict(model.named_buffers()).keys() - model.state_dict().keys())


def _split_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors as `number.name`, and everything else."""
    tensors, numbers = {}, {}
    for number, held in state["state"].items():
        for name, value in held.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value.detach().cpu()
            elif value is not None:
                numbers[f"{number}.{name}"] = value
    return tensors, {"param_groups": state["param_groups"], "numbers": numbers}


def _join_optimizer(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *rest["numbers"].items()):
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    return {"state": state, "param_groups": rest["param_groups"]}
