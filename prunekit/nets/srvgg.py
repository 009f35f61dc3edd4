"""SRVGGNetCompact: a plain chain of convolutions at the small size, added to the image."""

from __future__ import annotations

__all__ = ["SRVGGNetCompact"]

from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.layers import ImageNetwork, conv


class SRVGGNetCompact(ImageNetwork):
    """Compact network in the manner of VGG (Real-ESRGAN, Wang et al., ICCV Workshops 2021).

    The tensor names are those of the authors' release, so its state dicts load strictly.

    Args:
        scale: magnification, 1, 2, 3 or 4.
        channels: width of the chain.
        blocks: number of convolutions between the first and the last (16 for the network of anime
            video, 32 for the general one).
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in SRVGGNetCompact(scale=4).parameters())
        621424
    """

    scales = (1, 2, 3, 4)

    def __init__(
        self, scale: int = 4, channels: int = 64, blocks: int = 16, rgb_range: float = 1.0
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        self.body = nn.Sequential(conv(3, channels), nn.PReLU(channels))
        for _ in range(blocks):
            self.body.extend([conv(channels, channels), nn.PReLU(channels)])
        self.body.append(conv(channels, 3 * scale**2))
        self.upsampler = nn.PixelShuffle(scale)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        detail: Tensor = self.upsampler(self.body(lr))
        return detail + F.interpolate(lr, scale_factor=self.scale, mode="nearest")
