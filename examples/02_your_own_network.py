"""Look at the channel graph of a network of your own: what leaves together, what must stay."""

import torch
from torch import Tensor, nn

import prunekit


class TinySR(nn.Module):
    """Two residual blocks and a pixel shuffle, x3."""

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, 2 * channels, 3, padding=1),
                nn.PReLU(),
                nn.Conv2d(2 * channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )
        self.tail = nn.Sequential(nn.Conv2d(channels, 27, 3, padding=1), nn.PixelShuffle(3))

    def forward(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images."""
        x = self.head(lr)
        for block in self.blocks:
            x = x + block(x)
        return self.tail(x)


model = TinySR()
example = torch.rand(1, 3, 32, 32)
graph = prunekit.trace(model, example)
for group in graph.groups:
    print(f"{group.name}: {group.width} units over {group.axes} tensor axes")
print("reversal law holds:", graph.verify(model, example).holds)

recipe = {
    "prune": {
        "method": "filter",
        "target": {"macs_ratio": "40%"},
        "protect": ["trunk"],
        "round_to": 4,
    }
}
print(prunekit.prune(model, recipe, example).plan)
