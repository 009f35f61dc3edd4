"""The sizes that torch's own layers keep beside their weights, and whether they are true."""

from __future__ import annotations

__all__ = ["untrue_fields"]

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Fields = Mapping[str, object]


def untrue_fields(dense: nn.Module, slim: nn.Module) -> Iterator[str]:
    """Fields of layers, as `body.0.in_channels`, that fit the weights before and no longer do."""
    before = dict(dense.named_modules())
    for path, module in slim.named_modules():
        for name, true in _fields(module).items():
            held = getattr(module, name, None)
            if held != true and _is_true(before.get(path), name):
                yield f"{path}.{name}".removeprefix(".")


def _is_true(module: nn.Module | None, name: str) -> bool:
    return module is not None and getattr(module, name, None) == _fields(module).get(name)


def _fields(module: nn.Module) -> Fields:
    """What the fields of a layer have to be, by weights of its own; nothing for other modules."""
    for kind, fields in _TABLE:
        if isinstance(module, kind):
            own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            shapes = {name: tuple(tensor.shape) for name, tensor in own}
            return fields(module, shapes) if _OWN & shapes.keys() else {}
    return {}


Shapes = Mapping[str, tuple[int, ...]]
_OWN = {"weight", "running_mean", "in_proj_weight", "q_proj_weight"}
"""One of these has to be there."""


def _convolution(module: Any, shapes: Shapes) -> Fields:
    rows, columns = shapes["weight"][:2]
    if isinstance(module, _ConvTransposeNd):
        return {"in_channels": rows, "out_channels": columns * module.groups}
    return {"in_channels": columns * module.groups, "out_channels": rows}


def _linear(_: nn.Module, shapes: Shapes) -> Fields:
    return {"in_features": shapes["weight"][1], "out_features": shapes["weight"][0]}


def _bilinear(_: nn.Module, shapes: Shapes) -> Fields:
    makes, first, second = shapes["weight"]
    return {"out_features": makes, "in1_features": first, "in2_features": second}


def _norm(_: nn.Module, shapes: Shapes) -> Fields:
    return {"num_features": (shapes.get("weight") or shapes["running_mean"])[0]}


def _group_norm(_: nn.Module, shapes: Shapes) -> Fields:
    return {"num_channels": shapes["weight"][0]}


def _layer_norm(_: nn.Module, shapes: Shapes) -> Fields:
    return {"normalized_shape": shapes["weight"]}


def _embedding(_: nn.Module, shapes: Shapes) -> Fields:
    return {"num_embeddings": shapes["weight"][0], "embedding_dim": shapes["weight"][1]}


def _attention(module: Any, shapes: Shapes) -> Fields:
    width, inner = module.out_proj.weight.shape
    sources = {name: shapes.get(f"{name[0]}_proj_weight") for name in ("kdim", "vdim")}
    return {
        "embed_dim": width,
        "head_dim": inner // module.num_heads,
        **{name: shape[1] if shape else width for name, shape in sources.items()},
    }


_TABLE: tuple[tuple[type[nn.Module], Callable[[Any, Shapes], Fields]], ...] = (
    (_ConvNd, _convolution),
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (_NormBase, _norm),
    (nn.GroupNorm, _group_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (nn.Embedding, _embedding),
    (nn.MultiheadAttention, _attention),
)
"""What follows from the weights, by kind of layer."""
