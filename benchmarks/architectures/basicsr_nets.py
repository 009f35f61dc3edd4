"""The networks of BasicSR 1.4 that need no compiled extension; its clips of frames among them."""

from __future__ import annotations

__all__ = ["BASICSR", "build"]

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from benchmarks.architectures.entry import Architecture, Shape


def build(*, where: str, **arguments: Any) -> nn.Module:
    """Build `file:Class` of `basicsr.archs` without importing the training code around it.

    `basicsr` and `basicsr.archs` import every model, data set and metric when they are imported,
    some of which ask for torchvision modules that are gone; only their folders are needed.
    """
    for name in ("basicsr", "basicsr.archs"):
        if name not in sys.modules:
            sys.modules[name] = _folder_only(name)
    file, _, attribute = where.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # distutils
        module = importlib.import_module(f"basicsr.archs.{file}_arch")
        model: nn.Module = getattr(module, attribute)(**arguments)
    return model


def _folder_only(name: str) -> ModuleType:
    """A package of that name which has its folder, and ran nothing."""
    parent, _, last = name.rpartition(".")
    if parent:
        folder = Path(sys.modules[parent].__path__[0]) / last
    else:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            message = f"{name} is not installed; benchmarks/requirements.txt says how"
            raise ModuleNotFoundError(message, name=name)
        folder = Path(spec.origin).parent
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    return module


def _net(
    name: str,
    where: str,
    *,
    inputs: tuple[Shape | int, ...] = ((1, 3, 32, 48),),
    step: int = 32,
    note: str = "",
    **arguments: Any,
) -> Architecture:
    target = "benchmarks.architectures.basicsr_nets:build"
    arguments = {"where": where, **arguments}
    return Architecture(f"basicsr/{name}", target, arguments, inputs, step, note)


def _clip(frames: int, height: int = 64) -> tuple[Shape]:
    return ((1, frames, 3, height, height + 16),)


_RGB: dict[str, Any] = {"num_in_ch": 3, "num_out_ch": 3}

BASICSR = (
    _net("BasicVSR", "basicvsr:BasicVSR", num_block=30, inputs=_clip(3)),
    _net("BasicVSR++", "basicvsrpp:BasicVSRPlusPlus", inputs=_clip(3)),
    _net("IconVSR", "basicvsr:IconVSR", num_block=30, inputs=_clip(7)),
    _net("DUF-16", "duf:DUF", num_layer=16, inputs=_clip(7, 32), step=16),
    _net("DUF-52", "duf:DUF", inputs=_clip(7, 32), step=16),
    _net(
        "ECBSR",
        "ecbsr:ECBSR",
        num_in_ch=1,
        num_out_ch=1,
        num_block=4,
        num_channel=16,
        with_idt=False,
        act_type="prelu",
        scale=4,
        inputs=((1, 1, 64, 64),),
    ),
    _net("EDSR-M", "edsr:EDSR", **_RGB),
    _net("EDSR-L", "edsr:EDSR", num_feat=256, num_block=32, res_scale=0.1, **_RGB),
    _net("EDVR-M", "edvr:EDVR", num_reconstruct_block=10, inputs=_clip(5)),
    _net(
        "EDVR-L",
        "edvr:EDVR",
        num_feat=128,
        num_reconstruct_block=40,
        inputs=_clip(5),
    ),
    _net(
        "EDVR-L-deblur",
        "edvr:EDVR",
        num_feat=128,
        num_reconstruct_block=40,
        hr_in=True,
        with_predeblur=True,
        inputs=_clip(5),
        step=64,
    ),
    _net("HiFaceGAN", "hifacegan:HiFaceGAN", is_train=False, inputs=((1, 3, 256, 256),), step=256),
    _net("RCAN", "rcan:RCAN", num_block=20, **_RGB),
    _net("RIDNet", "ridnet:RIDNet", in_channels=3, mid_channels=64, out_channels=3),
    _net("RRDBNet", "rrdbnet:RRDBNet", **_RGB),
    _net("RRDBNet-6", "rrdbnet:RRDBNet", num_block=6, **_RGB),
    _net("RRDBNet-x2", "rrdbnet:RRDBNet", scale=2, **_RGB),
    _net("MSRResNet", "srresnet:MSRResNet"),
    _net("SRVGGNetCompact", "srvgg:SRVGGNetCompact"),
    _net("SPyNet", "spynet:SpyNet", inputs=((1, 3, 64, 64), (1, 3, 64, 64))),
    _net("TOFlow", "tof:TOFlow", inputs=_clip(7)),
    _net(
        "SwinIR-light",
        "swinir:SwinIR",
        embed_dim=60,
        window_size=8,
        mlp_ratio=2,
        upscale=4,
        upsampler="pixelshuffledirect",
    ),
)
"""All of them."""
