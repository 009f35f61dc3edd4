"""Reports with every part, with the least, and with names that attack."""

from __future__ import annotations

import numpy as np

from prunekit.data.pairs import ImagePair
from prunekit.data.resize import downscale, upscale
from prunekit.measure.counters import CounterResult
from prunekit.measure.latency import Latency
from prunekit.measure.protocol import Channels, Protocol
from prunekit.measure.scores import ImageScore, Scores
from prunekit.report.content import (
    BICUBIC,
    DENSE,
    SLIM,
    SLIM_BEFORE,
    CrossCheck,
    Entry,
    FrozenRow,
    GroupRow,
    Report,
    Sparsity,
    SparsityRow,
)
from prunekit.report.crops import cut_crops, preview_images
from prunekit.sparse import FileSize, MaskProof
from prunekit.surgery.verify import Verification
from prunekit.train.curve import TrainingCurve

HOSTILE = "<script>alert(1)</script>|`x`*b*[a](http://e.x)\n\"'&{{7*7}}\x1b[31m\u202e\udc80"


def pair(name: str, *, detail_at: tuple[int, int] = (40, 60), size: int = 96) -> ImagePair:
    """A grey image with one square of noise, 24 pixels wide, at (top, left)."""
    hr = np.full((size, size, 3), 128, np.uint8)
    top, left = detail_at
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    hr[top : top + 24, left : left + 24] = noise
    return ImagePair(name, downscale(hr, 2), hr)


def latency(median: float, low: float, high: float) -> Latency:
    return Latency(median, low, high, 7, (640, 360), "cpu", 2)


def quality(
    psnr: float, ssim: float = 0.95, name: str = "coffee", channels: Channels = "y"
) -> Scores:
    return Scores(Protocol(channels, 2, 2), 2, (ImageScore(name, psnr, ssim, 0.5),))


def structural(title: str = "structural") -> Report:
    """A run that pruned and verified, and neither trained nor evaluated."""
    return Report(
        title=title,
        prunekit="0.1.0",
        created="2026-11-21T05:30:12+00:00",
        entries=(Entry(DENSE, 1_000_000, 2_000_000_000), Entry(SLIM, 400_000, 900_000_000)),
        groups=(
            GroupRow("body.0", "channel", 64, 40, 3, 0.25),
            GroupRow("body.1", "channel", 32, 32, 3, 0.125),
        ),
        proof=Verification(True, 2.5e-7, 1.5e-6, "float32", ((1, 3, 48, 48), (1, 3, 72, 96))),
    )


def sparsity(name: str = "body.0") -> Sparsity:
    """Half of one of two weights, and three kinds of file."""
    return Sparsity(
        rows=(
            SparsityRow(name, (8, 4), 32, 16, pattern="2:4"),
            SparsityRow("head", (8, 3), 24, 0, reason="protected"),
        ),
        files=(
            FileSize("dense, float32", 2000),
            FileSize("sparse, float32", 1060, "bit-exact"),
            FileSize("sparse, float32, zstd", None, "no library"),
        ),
        proof=MaskProof(16, 16, 3, 1),
        notes=("No speed is gained.",),
    )


def full(name: str = "coffee") -> Report:
    """A run with every part."""
    pairs = [pair(name), pair("cat", detail_at=(8, 8))]
    outputs = {
        BICUBIC: [upscale(p.lr, 2) for p in pairs],
        DENSE: [p.hr for p in pairs],
        SLIM_BEFORE: [np.zeros_like(p.hr) for p in pairs],
        SLIM: [np.maximum(p.hr, 3) - 3 for p in pairs],
    }
    crops = cut_crops(pairs, outputs, count=2, size=24)
    base = structural()
    return Report(
        title="everything",
        prunekit=base.prunekit,
        created=base.created,
        entries=(
            Entry(DENSE, 1_000_000, 2_000_000_000, latency(20, 19, 21), quality(34.56, 0.9534)),
            Entry(SLIM_BEFORE, 400_000, 900_000_000, None, quality(31.0)),
            Entry(SLIM, 400_000, 900_000_000, latency(10, 9.5, 11), quality(34.49, 0.9521)),
            Entry(BICUBIC, quality=quality(30.25, 0.9)),
        ),
        convention=("MACs at 1280x720 output.", "PSNR-Y with a border of 2."),
        groups=base.groups,
        frozen=(FrozenRow("it carries the image", "convolution", "head.0", 2),),
        proof=base.proof,
        cross_checks=(
            CrossCheck(
                SLIM,
                (1, 3, 48, 48),
                (
                    CounterResult("prunekit", 1000, 400_000, ""),
                    CounterResult("fvcore", 1010, 400_000, "leaves out add"),
                    CounterResult("thop", None, None, "failed: AttributeError: no"),
                ),
            ),
        ),
        training=(
            TrainingCurve(
                stage=1,
                steps=(10, 20, 30),
                loss=(0.05, 0.03, 0.02),
                learning_rate=(2e-4, 1e-4, 0.0),
                seconds=75.0,
                images=5,
                batch_size=16,
                patch_size=32,
            ),
        ),
        crops=crops,
        previews=preview_images(pairs, crops),
        seconds=(("trace", 0.25), ("train", 75.0)),
        environment={"python": "3.11.7", "packages": {"torch": "2.10"}, "devices": []},
        recipe="prune:\n  method: filter\n",
        notes=("Latency is of this machine.",),
    )
