"""What a teacher adds to the loss."""

from __future__ import annotations

__all__ = ["Distillation", "Features", "computing_in"]

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import TrainError
from prunekit.train.affinity import affinity_distance
from prunekit.train.options import Distill, Precision
from prunekit.train.pyramid import laplacian_loss

_DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def computing_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Let a teacher compute in lower precision for a while."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


class Features:
    """Keeps what some modules of a network return, while it is watched."""

    def __init__(self, model: nn.Module, places: Sequence[str]) -> None:
        self._model = model
        self._places = places
        self.found: dict[str, Tensor] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep what the next forward passes make, the last one's."""
        hooks = [
            self._model.get_submodule(place).register_forward_hook(self._keeper(place))
            for place in self._places
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _keeper(self, place: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:  # noqa: PLR2004 (N, C, H, W)
                message = f"'{place}' hands no feature map on; leave distill.features out"
                raise TrainError(message)
            self.found[place] = output

        return keep


class Distillation:
    """A teacher without gradients, and the terms that it adds."""

    def __init__(
        self, teacher: nn.Module, options: Distill, student: nn.Module, matches: Sequence[str]
    ) -> None:
        """Let a teacher be imitated; features are compared at the modules that `matches` names."""
        self.teacher = teacher
        self._options = options
        self._places = tuple(matches) if options.features else ()
        self._theirs = Features(teacher, self._places)
        self.ours = Features(student, self._places)
        """To be watched while the student runs."""

    def term(self, lr: Tensor, sr: Tensor, kept: Tensor | None = None) -> Tensor:
        """Weighted sum of the distances to what the teacher makes of the same patches.

        With `cache_teacher` that is `kept`, and the teacher is not run; else there is none.
        """
        assert (kept is not None) == self._options.cache_teacher
        target = self._target(lr) if kept is None else kept
        options, total = self._options, sr.new_zeros(())
        if options.weight:
            total = total + options.weight * functional.l1_loss(sr, target)
        if options.laplacian:
            total = total + options.laplacian * laplacian_loss(sr, target)
        if options.features:
            distances = [
                affinity_distance(self.ours.found[place], self._theirs.found[place])
                for place in self._places
            ]
            total = total + options.features * torch.stack(distances).mean()
        return total

    def _target(self, lr: Tensor) -> Tensor:
        lower = computing_in(self._options.precision, lr.device)
        with torch.no_grad(), self._theirs.watched(), lower:
            target = self.teacher(lr)
        if not isinstance(target, Tensor):
            message = f"the teacher returns a {type(target).__name__} where an image is needed"
            raise TrainError(message)
        return target.to(lr.dtype)
