"""Every architecture of spandrel 0.4, with the arguments of its published models."""

from __future__ import annotations

__all__ = ["SPANDREL"]

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
    target = f"spandrel.architectures.{folder}.__arch.{rest}"
    return Architecture(f"spandrel/{name}", target, arguments, inputs, step, note)


_LARGER: tuple[Shape] = ((1, 3, 64, 80),)
"""For networks that reflect more than half of a small image at its edges."""
_X4: dict[str, Any] = {"upscale": 4, "upsampler": "pixelshuffle"}
_LIGHT: dict[str, Any] = {"upscale": 4, "upsampler": "pixelshuffledirect"}
_REAL: dict[str, Any] = {"upscale": 4, "upsampler": "nearest+conv"}
_SWIN: dict[str, Any] = {
    "embed_dim": 180,
    "depths": [6] * 6,
    "num_heads": [6] * 6,
    "window_size": 8,
    "mlp_ratio": 2,
}
_SWIN_LIGHT: dict[str, Any] = {**_SWIN, "embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4}
_SWIN_LARGE: dict[str, Any] = {**_SWIN, "embed_dim": 240, "depths": [6] * 9, "num_heads": [8] * 9}
_HAT: dict[str, Any] = {**_SWIN, "window_size": 16, **_X4}
_GRL: dict[str, Any] = {
    "mlp_ratio": 2,
    "stripe_groups": [None, None],
    "stripe_shift": True,
    "qkv_proj_type": "linear",
    "anchor_proj_type": "avgpool",
    "out_proj_type": "linear",
    "upscale": 4,
}

_TRANSFORMERS = (
    _net(
        "ATD",
        "ATD/atd_arch:ATD",
        **{**_SWIN, **_X4, "embed_dim": 210, "window_size": 16},
        num_tokens=128,
        reducted_dim=20,
    ),
    _net(
        "ATD-light",
        "ATD/atd_arch:ATD",
        **{**_SWIN_LIGHT, **_LIGHT, "embed_dim": 48, "num_heads": [4] * 4, "window_size": 16},
        category_size=128,
        reducted_dim=8,
        convffn_kernel_size=7,
    ),
    _net("CRAFT", "CRAFT/CRAFT:CRAFT", depths=[2] * 4),
    _net(
        "DAT",
        "DAT/DAT:DAT",
        depth=[6] * 6,
        num_heads=[6] * 6,
        split_size=[8, 32],
        **_X4,
    ),
    _net(
        "DAT-S",
        "DAT/DAT:DAT",
        depth=[6] * 6,
        num_heads=[6] * 6,
        split_size=[8, 16],
        expansion_factor=2,
        **_X4,
    ),
    _net(
        "DAT-light",
        "DAT/DAT:DAT",
        embed_dim=60,
        depth=[18],
        num_heads=[6],
        split_size=[8, 32],
        expansion_factor=2,
        resi_connection="3conv",
        **_LIGHT,
    ),
    _net("DRCT", "DRCT/drct_arch:DRCT", **_X4),
    _net("FDAT", "FDAT/fdat:FDAT"),
    _net("FFTformer", "FFTformer/fftformer_arch:FFTformer", inputs=((1, 3, 64, 96),)),
    _net(
        "GRL-B",
        "GRL/grl:GRL",
        embed_dim=180,
        depths=[4, 4, 8, 8, 8, 4, 4],
        num_heads_window=[3] * 7,
        num_heads_stripe=[3] * 7,
        window_size=32,
        stripe_size=[64, 64],
        anchor_window_down_factor=4,
        local_connection=True,
        upsampler="pixelshuffle",
        step=16,
        **_GRL,
    ),
    _net(
        "GRL-T",
        "GRL/grl:GRL",
        embed_dim=64,
        depths=[4] * 4,
        num_heads_window=[2] * 4,
        num_heads_stripe=[2] * 4,
        window_size=32,
        stripe_size=[64, 64],
        anchor_window_down_factor=4,
        upsampler="pixelshuffledirect",
        step=16,
        **_GRL,
    ),
    _net("HAT", "HAT/HAT:HAT", **_HAT),
    _net(
        "HAT-S",
        "HAT/HAT:HAT",
        **{**_HAT, "embed_dim": 144},
        compress_ratio=24,
        squeeze_factor=24,
    ),
    _net("HAT-L", "HAT/HAT:HAT", **{**_HAT, "depths": [6] * 12, "num_heads": [6] * 12}),
    _net("HVI-CIDNet", "HVICIDNet/cidnet:CIDNet"),
    _net(
        "IPT",
        "IPT/ipt:IPT",
        scale=[4],
        inputs=((1, 3, 48, 48),),
        step=0,
        note="takes patches of 48 x 48",
    ),
    _net(
        "OmniSR",
        "OmniSR/OmniSR:OmniSR",
        res_num=5,
    ),
    _net(
        "RGT",
        "RGT/rgt:RGT",
        depth=[6] * 8,
        num_heads=[6] * 8,
        mlp_ratio=2,
        split_size=[8, 32],
        upscale=4,
    ),
    _net(
        "RGT-S",
        "RGT/rgt:RGT",
        depth=[6] * 6,
        num_heads=[6] * 6,
        mlp_ratio=2,
        split_size=[8, 32],
        upscale=4,
    ),
    _net("RestoreFormer", "RestoreFormer/restoreformer_arch:RestoreFormer"),
    _net(
        "RetinexFormer",
        "RetinexFormer/retinexformer_arch:RetinexFormer",
        stage=1,
        num_blocks=[1, 2, 2],
    ),
    _net("SCUNet", "SCUNet/SCUNet:SCUNet", inputs=((1, 3, 64, 64),), step=64),
    _net("Swin2SR", "Swin2SR/Swin2SR:Swin2SR", **_SWIN, **_X4),
    _net("Swin2SR-light", "Swin2SR/Swin2SR:Swin2SR", **_SWIN_LIGHT, **_LIGHT),
    _net("Swin2SR-real", "Swin2SR/Swin2SR:Swin2SR", **_SWIN, **_REAL),
    _net("SwinIR", "SwinIR/SwinIR:SwinIR", **_SWIN, **_X4),
    _net("SwinIR-light", "SwinIR/SwinIR:SwinIR", **_SWIN_LIGHT, **_LIGHT),
    _net("SwinIR-real", "SwinIR/SwinIR:SwinIR", **_SWIN, **_REAL),
    _net(
        "SwinIR-real-L",
        "SwinIR/SwinIR:SwinIR",
        resi_connection="3conv",
        **_SWIN_LARGE,
        **_REAL,
    ),
    _net("SwinIR-denoise", "SwinIR/SwinIR:SwinIR", **_SWIN),
    _net(
        "Uformer-T",
        "Uformer/Uformer:Uformer",
        img_size=128,
        embed_dim=16,
        inputs=((1, 3, 128, 128),),
        step=128,
        note="square images alone",
    ),
    _net(
        "Uformer-B",
        "Uformer/Uformer:Uformer",
        img_size=128,
        depths=[1, 2, 8, 8, 2, 8, 8, 2, 1],
        modulator=True,
        inputs=((1, 3, 128, 128),),
        step=128,
    ),
)

_CONVOLUTIONAL = (
    _net("Compact", "Compact/SRVGG:SRVGGNetCompact"),
    _net("Compact-general", "Compact/SRVGG:SRVGGNetCompact", num_conv=32),
    _net("DCTLSA", "DCTLSA/dctlsa:DCTLSA"),
    _net("DITN-real", "DITN/DITN_Real:DITN_Real"),
    _net("DRUNet", "DRUNet/network_unet:DRUNet", in_nc=4, out_nc=3, inputs=((1, 4, 64, 64),)),
    _net("DnCNN", "DnCNN/network_dncnn:DnCNN", inputs=((1, 1, 64, 64),)),
    _net("DnCNN-color-blind", "DnCNN/network_dncnn:DnCNN", in_nc=3, out_nc=3, nb=20, act_mode="R"),
    _net("ESRGAN", "ESRGAN/RRDB:RRDBNet"),
    _net("ESRGAN-6B", "ESRGAN/RRDB:RRDBNet", num_blocks=6),
    _net("ESRGAN-plus", "ESRGAN/RRDB:RRDBNet", plus=True),
    _net("RealESRGAN-x2", "ESRGAN/RRDB:RRDBNet", in_nc=12, scale=4, shuffle_factor=2),
    _net("FBCNN", "FBCNN/FBCNN:FBCNN"),
    _net("KBNet-L", "KBNet/kbnet_l:KBNet_l"),
    _net("KBNet-S", "KBNet/kbnet_s:KBNet_s"),
    _net(
        "LaMa",
        "LaMa/LaMa:LaMa",
        in_nc=4,
        inputs=((1, 3, 64, 64), (1, 1, 64, 64)),
    ),
    _net("MMRealSR", "MMRealSR/mmrealsr_arch:MMRRDBNet_test", num_in_ch=3, num_out_ch=3),
    _net("MixDehazeNet-S", "MixDehazeNet/MixDehazeNet:MixDehazeNet", inputs=_LARGER),
    _net(
        "MixDehazeNet-L",
        "MixDehazeNet/MixDehazeNet:MixDehazeNet",
        depths=[4, 4, 8, 4, 4],
        inputs=_LARGER,
    ),
    _net("MoESR", "MoESR/MoESR:MoESR"),
    _net("MoSR", "MoSR/mosr_arch:MoSR"),
    _net("MoSR-geo", "MoSR/mosr_arch:MoSR", upsampler="gps"),
    _net(
        "NAFNet-SIDD",
        "NAFNet/NAFNet_arch:NAFNet",
        width=64,
        middle_blk_num=12,
        enc_blk_nums=[2, 2, 4, 8],
        dec_blk_nums=[2, 2, 2, 2],
    ),
    _net(
        "NAFNet-GoPro",
        "NAFNet/NAFNet_arch:NAFNet",
        width=64,
        enc_blk_nums=[1, 1, 1, 28],
        dec_blk_nums=[1, 1, 1, 1],
    ),
    _net("PLKSR", "PLKSR/PLKSR:PLKSR", ccm_type="DCCM"),
    _net("PLKSR-tiny", "PLKSR/PLKSR:PLKSR", n_blocks=12, ccm_type="DCCM", kernel_size=13),
    _net("PLKSR-sparse", "PLKSR/PLKSR:PLKSR", ccm_type="DCCM", lk_type="SparsePLK"),
    _net("RealPLKSR", "PLKSR/RealPLKSR:RealPLKSR"),
    _net("RealPLKSR-dysample", "PLKSR/RealPLKSR:RealPLKSR", dysample=True),
    _net("RCAN", "RCAN/rcan_arch:RCAN"),
    _net("RealCUGAN-x2", "RealCUGAN/upcunet_v3:UpCunet2x"),
    _net("RealCUGAN-x2-fast", "RealCUGAN/upcunet_v3:UpCunet2x_fast", inputs=_LARGER),
    _net("RealCUGAN-x3", "RealCUGAN/upcunet_v3:UpCunet3x"),
    _net("RealCUGAN-x4-pro", "RealCUGAN/upcunet_v3:UpCunet4x", pro=True),
    _net("SAFMN", "SAFMN/safmn:SAFMN", dim=36),
    _net("SAFMN-L", "SAFMN/safmn:SAFMN", dim=128, n_blocks=16),
    _net("SAFMN-BCIE", "SAFMNBCIE/safmn_bcie:SAFMN_BCIE", dim=48),
    _net("SPAN", "SPAN/span:SPAN", num_in_ch=3, num_out_ch=3),
    _net(
        "SeemoRe-T",
        "SeemoRe/seemore_arch:SeemoRe",
        num_experts=3,
        embedding_dim=36,
        use_shuffle=False,
        lr_space="exp",
    ),
    _net(
        "SeemoRe-L",
        "SeemoRe/seemore_arch:SeemoRe",
        num_experts=3,
        num_layers=16,
        embedding_dim=48,
        use_shuffle=False,
        lr_space="exp",
    ),
    _net("SwiftSRGAN", "SwiftSRGAN/SwiftSRGAN:Generator"),
)

_GENERATIVE = (
    _net(
        "AuraSR",
        "AuraSR/aura_sr:UnetUpsampler",
        dim=64,
        image_size=256,
        input_image_size=64,
        style_network={"dim_in": 128, "dim_out": 512, "depth": 4},
        attn_depths=(2, 2, 2, 2, 4),
        note="draws its style and its noise at random in every forward pass",
    ),
    _net("GFPGAN", "GFPGAN/gfpganv1_clean_arch:GFPGANv1Clean", inputs=((1, 3, 512, 512),), step=0),
)

SPANDREL = _TRANSFORMERS + _CONVOLUTIONAL + _GENERATIVE
"""All of them."""
