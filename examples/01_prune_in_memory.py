"""Prune a trained network in memory, save it, load it again. Takes a second, needs no images."""

import tempfile
from pathlib import Path

import torch

import prunekit
from prunekit.nets import create

dense = create("edsr_x2_compact")
recipe = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}
result = prunekit.prune(dense, recipe)
print(result.plan)

with tempfile.TemporaryDirectory() as parent:
    folder = result.save(Path(parent) / "slim")
    slim = prunekit.load(folder, model=create("edsr_x2_compact"))

image = torch.rand(1, 3, 40, 56)
assert torch.equal(slim(image), result.model(image))
print(f"{tuple(image.shape)} -> {tuple(slim(image).shape)}")
