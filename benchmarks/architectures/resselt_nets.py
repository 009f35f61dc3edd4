"""Every architecture of resselt 1.2, with the arguments of its published models."""

from __future__ import annotations

__all__ = ["RESSELT"]

from typing import Any

from benchmarks.architectures.entry import Architecture, Shape


def _net(
    name: str,
    where: str,
    *,
    inputs: tuple[Shape, ...] = ((1, 3, 32, 48),),
    **arguments: Any,
) -> Architecture:
    """`where` is `folder:class`, or `folder.file:class` where the file is not called arch."""
    folder, _, attribute = where.partition(":")
    module = folder if "." in folder else f"{folder}.arch"
    target = f"resselt.archs.{module}:{attribute}"
    return Architecture(f"resselt/{name}", target, arguments, inputs)


_LARGER: tuple[Shape] = ((1, 3, 64, 80),)
"""For networks that reflect more than half of a small image at its edges."""
_SWIN_LIGHT: dict[str, Any] = {
    "embed_dim": 60,
    "depths": [6] * 4,
    "num_heads": [6] * 4,
    "window_size": 8,
    "mlp_ratio": 2,
    "upscale": 4,
    "upsampler": "pixelshuffledirect",
}

RESSELT = (
    _net(
        "ATD-light",
        "atd:ATD",
        **{**_SWIN_LIGHT, "embed_dim": 48, "num_heads": [4] * 4, "window_size": 16},
        category_size=128,
        reducted_dim=8,
        convffn_kernel_size=7,
    ),
    _net("Compact", "compact:SRVGGNetCompact"),
    _net("CUGAN-x2", "cugan:UpCunet2x"),
    _net("CUGAN-x2-fast", "cugan:UpCunet2x_fast", inputs=_LARGER),
    _net("CUGAN-x3", "cugan:UpCunet3x"),
    _net("CUGAN-x4", "cugan:UpCunet4x", pro=True),
    _net("DAT-2", "dat:DAT"),
    _net("DRCT", "drct:DRCT", upscale=4, upsampler="pixelshuffle"),
    _net("EIMN", "eimn:eimn"),
    _net("ESRGAN", "esrgan:RRDBNet"),
    _net("ESRGAN-shuffle", "esrgan:RRDBNet", upsampler="pixel_shuffle"),
    _net("FlexNet", "flexnet:FlexNet"),
    _net("FlexNet-meta", "flexnet:FlexNet", pipeline_type="meta", inputs=_LARGER),
    _net("GateR", "gater:GateR"),
    _net("GateR-latent", "gater:GateR", latent_att=True),
    _net("GateRV2", "gaterv2:GateRV2"),
    _net("GateRV3", "gaterv3:GateRV3"),
    _net("GateRV3-attention", "gaterv3:GateRV3", attention=True),
    _net("GFISR", "gfisr:GFISR"),
    _net("GFISR-conv", "gfisr:GFISR", fft_mode=False, upsampler="pa_up"),
    _net("LAWFFT", "lawfft:LAWFFT"),
    _net("MoESR", "moesr:MoESR"),
    _net("MoSR", "mosr:mosr"),
    _net("MoSRv2", "mosrv2:MoSRv2"),
    _net("MoSRv2-rms", "mosrv2:MoSRv2", rms_norm=True, unshuffle_mod=False),
    _net("OmniSR", "omni:OmniSR", res_num=5),
    _net("PLKSR", "plksr.plksr:plksr"),
    _net("RealPLKSR", "plksr.rplksr:realplksr", dysample=False),
    _net("RCAN", "rcan:RCAN"),
    _net("RCAN-unshuffle", "rcan:RCAN", scale=2, unshuffle_mod=True),
    _net(
        "RGT-S",
        "rgt:RGT",
        depth=[6] * 6,
        num_heads=[6] * 6,
        mlp_ratio=2,
        split_size=[8, 32],
        upscale=4,
    ),
    _net("RHA", "rha:RHA", inputs=_LARGER),
    _net("RTMoSR", "rtmosr:RTMoSR"),
    _net("RTMoSR-unshuffle", "rtmosr:RTMoSR", unshuffle_mod=True),
    _net("SPAN", "span:SPAN", num_in_ch=3, num_out_ch=3),
    _net("SPANPlus-shuffle", "spanplus:SpanPlus", upsampler="ps"),
    _net("SwinIR-light", "swinir:SwinIR", **_SWIN_LIGHT),
)
"""All of them; not with its DySample, which needs CUDA: spandrel's stands for it."""
