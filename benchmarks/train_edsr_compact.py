"""Train the compact EDSR x2 that ships with prunekit, and measure it on Set5 and Set14.

    python benchmarks/train_edsr_compact.py --data DIR --out DIR [--steps 7000]

DIR holds `train/BSDS500_train`, `train/DIV2K_testLRx4` and `benchmarks/Set5|Set14`. Writes
`edsr_x2_compact.safetensors` and `train_edsr_compact.json`, and continues from its own
checkpoint after an interruption.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from prunekit.data.resize import downscale, modcrop, upscale
from prunekit.measure.quality import psnr_y, ssim_y
from prunekit.nets.edsr import EDSR

ARCHITECTURE = {"scale": 2, "channels": 48, "blocks": 8}
TRAIN_FOLDERS = ("train/BSDS500_train", "train/DIV2K_testLRx4")
SCALE = 2
BATCH, PATCH = 16, 48
LEARNING_RATE, WARMUP = 5e-4, 200
SEED = 20261121


@dataclass
class Curve:
    """Figures along the way, one entry each time they were taken."""

    step: list[int] = field(default_factory=list)
    l1: list[float] = field(default_factory=list)
    set5_psnr_y: list[float] = field(default_factory=list)
    seconds: float = 0.0


def main() -> None:
    """Train, measure, write."""
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    model = EDSR(**ARCHITECTURE)
    curve = train(model, options)
    figures = {name: evaluate(model, options.data, name) for name in ("Set5", "Set14")}
    save_file(model.state_dict(), options.out / "edsr_x2_compact.safetensors")
    report = {
        "architecture": {"name": "EDSR", **ARCHITECTURE},
        "training": {
            "images": list(TRAIN_FOLDERS),
            "steps": options.steps,
            "batch": BATCH,
            "lr_patch": PATCH,
            "loss": "L1",
            "optimizer": "Adam",
            "learning_rate": f"{LEARNING_RATE}, {WARMUP} steps of warm-up, cosine to 0",
            "seed": SEED,
            "seconds": round(curve.seconds),
        },
        "convention": "Y of BT.601, border 2, 8-bit output, mean over images; LR as shipped",
        "figures": figures,
        "curve": {"step": curve.step, "l1": curve.l1, "set5_psnr_y": curve.set5_psnr_y},
        "machine": {"cpu_threads": torch.get_num_threads(), "platform": platform.platform()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    (options.out / "train_edsr_compact.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=7000)
    return parser.parse_args()


def train(model: EDSR, options: argparse.Namespace) -> Curve:
    """Minimise L1 on random patches; a checkpoint every 250 steps."""
    pairs = load_pairs(options.data)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    curve, first = resume(model, optimizer, options.out)
    losses = []
    for step in range(first, options.steps):
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        lr, hr = batch(pairs, np.random.default_rng([SEED, step]))
        loss = F.l1_loss(model(lr), hr)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        curve.seconds += time.perf_counter() - started
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            note(curve, step + 1, losses, evaluate(model, options.data, "Set5"))
            losses.clear()
            checkpoint(model, optimizer, curve, options.out)
    return curve


def load_pairs(data: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Every training photograph with its LR, in memory."""
    pairs = []
    for folder in TRAIN_FOLDERS:
        for path in sorted((data / folder).iterdir()):
            hr = modcrop(read(path), SCALE)
            pairs.append((downscale(hr, SCALE), hr))
    return pairs


def read(path: Path) -> NDArray[np.uint8]:
    """One image as RGB."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, then half a cosine."""
    progress = max(0, step - WARMUP) / max(1, steps - WARMUP)
    rise, fall = min(1.0, (step + 1) / WARMUP), 0.5 * (1 + math.cos(math.pi * progress))
    return LEARNING_RATE * rise * fall


def batch(
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, flipped and turned."""
    lrs, hrs = [], []
    for index in rng.integers(len(pairs), size=BATCH):
        lr, hr = pairs[index]
        top = rng.integers(lr.shape[0] - PATCH + 1)
        left = rng.integers(lr.shape[1] - PATCH + 1)
        turns, mirror = rng.integers(4), rng.integers(2)
        for image, factor, into in ((lr, 1, lrs), (hr, SCALE, hrs)):
            rows = slice(top * factor, (top + PATCH) * factor)
            columns = slice(left * factor, (left + PATCH) * factor)
            crop = np.rot90(image[rows, columns], turns)
            into.append(crop[::-1] if mirror else crop)
    return to_tensor(np.stack(lrs)), to_tensor(np.stack(hrs))


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, H, W, 3) bytes to (N, 3, H, W) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255


def evaluate(model: EDSR, data: Path, name: str) -> dict[str, float]:
    """Mean PSNR-Y and SSIM-Y of the network and of bicubic."""
    rows = []
    for path in sorted((data / "benchmarks" / name / "HR").iterdir()):
        hr = modcrop(read(path), SCALE)
        lr = read(data / "benchmarks" / name / f"LR_bicubic/X{SCALE}/{path.stem}x{SCALE}.png")
        with torch.no_grad():
            sr = model(to_tensor(lr[None]))[0].mul(255).round().clamp(0, 255).byte()
        images = (sr.permute(1, 2, 0).numpy(), upscale(lr, SCALE))
        rows.append([f(image, hr, SCALE) for image in images for f in (psnr_y, ssim_y)])
    names = ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")
    return dict(zip(names, np.mean(rows, axis=0).round(4).tolist(), strict=True))


def note(curve: Curve, step: int, losses: list[float], set5: dict[str, float]) -> None:
    """Add to the curve and say it."""
    curve.step.append(step)
    curve.l1.append(round(float(np.mean(losses)), 6))
    curve.set5_psnr_y.append(set5["psnr_y"])
    print(f"step {step}: L1 {curve.l1[-1]}, Set5 {set5}, {curve.seconds:.0f} s", flush=True)


def checkpoint(model: EDSR, optimizer: torch.optim.Optimizer, curve: Curve, folder: Path) -> None:
    """Write aside, then rename."""
    aside = folder / "checkpoint.aside"
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "curve": vars(curve)}
    torch.save(state, aside)
    aside.replace(folder / "checkpoint.pt")


def resume(model: EDSR, optimizer: torch.optim.Optimizer, folder: Path) -> tuple[Curve, int]:
    """Pick up the checkpoint, if there is one."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return Curve(), 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    curve = Curve(**state["curve"])
    return curve, curve.step[-1]


if __name__ == "__main__":
    main()
