"""Every architecture of spandrel-extra-arches 0.2, with the arguments of its published models."""

from __future__ import annotations

__all__ = ["SPANDREL_EXTRA"]

from typing import Any

from benchmarks.architectures.entry import Architecture, Shape


def _net(
    name: str,
    where: str,
    *,
    inputs: tuple[Shape | int, ...] = ((1, 3, 32, 48),),
    step: int = 32,
    note: str = "",
    **arguments: Any,
) -> Architecture:
    """`where` is `Folder/file:Class`."""
    folder, _, rest = where.partition("/")
    target = f"spandrel_extra_arches.architectures.{folder}.__arch.{rest}"
    return Architecture(f"spandrel-extra/{name}", target, arguments, inputs, step, note)


SPANDREL_EXTRA = (
    _net(
        "AdaCode",
        "AdaCode/adacode_contrast_arch:AdaCodeSRNet_Contrast",
        codebook_params=[[32, 512, 256], [32, 512, 256], [32, 512, 256]],
        inputs=((1, 3, 256, 256),),
        step=128,
    ),
    _net("CodeFormer", "CodeFormer/codeformer:CodeFormer", inputs=((1, 3, 512, 512),), step=0),
    _net("DDColor", "DDColor/ddcolor:DDColor", dec_layers=9, inputs=((1, 3, 256, 256),), step=0),
    _net(
        "DDColor-tiny",
        "DDColor/ddcolor:DDColor",
        encoder_name="convnext-t",
        num_queries=100,
        inputs=((1, 3, 256, 256),),
        step=0,
    ),
    _net("FeMaSR", "FeMaSR/femasr:FeMaSRNet", LQ_stage=True, scale_factor=4, step=64),
    _net("M3SNet", "M3SNet/M3SNet:M3SNet"),
    _net(
        "MAT",
        "MAT/MAT:MAT",
        inputs=((1, 3, 512, 512), (1, 1, 512, 512)),
        step=0,
        note="draws its noise at random",
    ),
    _net("MIRNet-v2", "MIRNet2/mirnet_v2_arch:MIRNet_v2"),
    _net("MPRNet", "MPRNet/MPRNet:MPRNet"),
    _net("Restormer", "Restormer/restormer_arch:Restormer"),
    _net("Restormer-bias-free", "Restormer/restormer_arch:Restormer", LayerNorm_type="BiasFree"),
    _net(
        "SRFormer",
        "SRFormer/SRFormer:SRFormer",
        embed_dim=180,
        depths=[6] * 6,
        num_heads=[6] * 6,
        window_size=24,
        mlp_ratio=2,
        upscale=4,
        upsampler="pixelshuffle",
        inputs=((1, 3, 48, 48),),
        step=24,
    ),
    _net(
        "SRFormer-light",
        "SRFormer/SRFormer:SRFormer",
        embed_dim=60,
        depths=[6] * 4,
        num_heads=[6] * 4,
        window_size=16,
        mlp_ratio=2,
        upscale=4,
        upsampler="pixelshuffledirect",
    ),
)
"""All of them."""
