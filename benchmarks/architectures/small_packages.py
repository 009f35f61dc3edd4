"""The networks of torchsr, super-image and prunekit, and a few backbones of timm."""

from __future__ import annotations

__all__ = ["PRUNEKIT", "SUPER_IMAGE", "TIMM", "TORCHSR", "build_super_image"]

import importlib
from typing import Any

from torch import nn

from benchmarks.architectures.entry import Architecture, Shape


def build_super_image(*, family: str, **arguments: Any) -> nn.Module:
    """Build a model of super-image from the configuration of its family."""
    configuration = importlib.import_module(f"super_image.models.{family}.configuration_{family}")
    modeling = importlib.import_module(f"super_image.models.{family}.modeling_{family}")
    name = family.capitalize()
    options = getattr(configuration, f"{name}Config")(**arguments)
    model: nn.Module = getattr(modeling, f"{name}Model")(options)
    return model


def _super_image(
    name: str,
    family: str,
    *,
    inputs: tuple[Shape, ...] = ((1, 3, 32, 48),),
    step: int = 32,
    note: str = "",
    **arguments: Any,
) -> Architecture:
    target = "benchmarks.architectures.small_packages:build_super_image"
    arguments = {"family": family, "scale": 4, **arguments}
    return Architecture(f"super-image/{name}", target, arguments, inputs, step, note)


SUPER_IMAGE = (
    _super_image("A2N", "a2n"),
    _super_image("AWSRN", "awsrn"),
    _super_image("AWSRN-BAM", "awsrn", bam=True),
    _super_image("CARN", "carn"),
    _super_image("CARN-BAM", "carn", bam=True),
    _super_image("DDBPN", "ddbpn"),
    _super_image("DRLN", "drln"),
    _super_image("DRLN-BAM", "drln", bam=True),
    _super_image("DRN", "drn"),
    _super_image("DRN-L", "drn", n_blocks=40, n_feats=20),
    _super_image("EDSR-base", "edsr"),
    _super_image("EDSR", "edsr", n_resblocks=32, n_feats=256, res_scale=0.1),
    _super_image("HAN", "han"),
    _super_image(
        "MASA",
        "masa",
        inputs=((1, 3, 32, 32), (1, 3, 128, 128), (1, 3, 32, 32)),
        step=0,
        note="takes a reference image and the same made small",
    ),
    _super_image("MDSR", "mdsr"),
    _super_image("MDSR-BAM", "mdsr", bam=True),
    _super_image("MSRN", "msrn"),
    _super_image("MSRN-BAM", "msrn", bam=True),
    _super_image("PAN", "pan"),
    _super_image("PAN-BAM", "pan", bam=True),
    _super_image("PhysicsSR", "physicssr"),
    _super_image("RCAN", "rcan"),
    _super_image("RCAN-BAM", "rcan", bam=True),
)
"""The families that run; `LEFT_OUT` says why the others are not here."""


def _torchsr(name: str, where: str, **arguments: Any) -> Architecture:
    arguments = {"scale": 4, "pretrained": False, **arguments}
    return Architecture(f"torchsr/{name}", f"torchsr.models.{where}", arguments)


TORCHSR = (
    _torchsr("CARN", "carn:carn"),
    _torchsr("CARN-M", "carn:carn_m"),
    _torchsr("EDSR-baseline", "edsr:edsr_baseline"),
    _torchsr("EDSR", "edsr:edsr"),
    _torchsr("NinaSR-B0", "ninasr:ninasr_b0"),
    _torchsr("NinaSR-B1", "ninasr:ninasr_b1"),
    _torchsr("NinaSR-B2", "ninasr:ninasr_b2"),
    _torchsr("RCAN", "rcan:rcan"),
    _torchsr("RDN-A", "rdn:rdn_a"),
    _torchsr("RDN", "rdn:rdn"),
    _torchsr("VDSR", "vdsr:vdsr"),
)
"""All of them."""


def _timm(model: str, side: int = 64, step: int = 32, **arguments: Any) -> Architecture:
    inputs: tuple[Shape] = ((1, 3, side, side),)
    arguments = {"model_name": model, "pretrained": False, **arguments}
    return Architecture(f"timm/{model}", "timm:create_model", arguments, inputs, step)


TIMM = (
    _timm("convnext_tiny"),
    _timm("mobilenetv3_large_100"),
    _timm("resnet18"),
    _timm("swin_tiny_patch4_window7_224", 224, 0),
    _timm("vit_tiny_patch16_224", 224, 0),
)
"""Classifiers: not super-resolution, but what encoders are made of."""

PRUNEKIT = (Architecture("prunekit/EDSR", "prunekit.nets:EDSR", {"scale": 4}),)
"""The reference networks of this project."""
