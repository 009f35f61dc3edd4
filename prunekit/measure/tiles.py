"""Enlarging an image in tiles that overlap, and how far a network looks."""

from __future__ import annotations

__all__ = ["Tile", "find_reach", "infer_tiled", "parts", "tiles"]

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import MeasureError
from prunekit.measure.infer import infer
from prunekit.measure.mode import in_mode, placement

_STEP = 16
"""Tiles begin at multiples of it, as networks want that halve the image up to four times, cut it
into windows of 8 or fold pixels into channels; else a pixel has another place in its window."""

_SIDES = (4 * _STEP, 6 * _STEP, 10 * _STEP)
"""Sides of the noise that is looked at, until the reach is inside; their middles begin a window."""

_PLACES = (0, 3, 4, 7, 8, 11, 12, 15)
"""Pixels behind the middle that are looked at: where windows begin and end, shifted by half too."""

_ALIKE = {torch.float32: 1e-4, torch.float64: 1e-4}
"""How far pixels of a part may be from those of the whole, by type; where white is 1."""

_ROUGHLY = 1e-2
"""The same for other types."""

_MARGINS = (0, 8, 24)
"""What is added to the reach where parts show that it is too little: of a window that a maximum is
taken over, the gradient shows one pixel."""

_MOST_MEMORY = 4 * 2**30
"""Bytes that the gradient may take."""


@dataclass(frozen=True)
class Tile:
    """A part of an image that is enlarged by itself, and the rows and columns kept of it."""

    top: int
    left: int
    height: int
    width: int
    """What the network sees: the part with its overlap, as far as there is image."""
    rows: tuple[int, int]
    columns: tuple[int, int]
    """What is kept, in pixels of the whole image; all tiles together have every pixel once."""


def tiles(height: int, width: int, *, size: int, overlap: int) -> list[Tile]:
    """Cut an image into parts of nearly equal size, of at most `size` pixels a side.

    Each sees `overlap` pixels beyond, and above and to the left up to 15 more. A `size` of 0
    takes the image whole.
    """
    return [
        Tile(
            top=(top := _begin(rows[0] - overlap)),
            left=(left := _begin(columns[0] - overlap)),
            height=min(rows[1] + overlap, height) - top,
            width=min(columns[1] + overlap, width) - left,
            rows=rows,
            columns=columns,
        )
        for rows in parts(height, size)
        for columns in parts(width, size)
    ]


def infer_tiled(
    model: nn.Module,
    batch: Tensor,
    cut: list[Tile],
    *,
    done: Callable[[], None] = lambda: None,
) -> Tensor:
    """Enlarge `(1, 3, H, W)` tile by tile into float32 on the CPU; `done` is called after each.

    Equal to the whole image within rounding if the overlap is the reach of the network or more.
    Raises `MeasureError` if the network fails, or its scale is no whole number.
    """
    device, dtype = placement(model)
    whole = torch.empty(0)
    scale = 0
    for tile in cut:
        rows = slice(tile.top, tile.top + tile.height)
        columns = slice(tile.left, tile.left + tile.width)
        enlarged = infer(model, batch[:, :, rows, columns].to(device, dtype))
        if not scale:
            scale = _scale_of(enlarged, tile)
            height, width = batch.shape[2:]
            whole = torch.empty(1, 3, height * scale, width * scale)
        elif enlarged.shape[2:] != (tile.height * scale, tile.width * scale):
            _scale_of(enlarged, tile)
        inner_rows = slice(*(scale * (row - tile.top) for row in tile.rows))
        inner_columns = slice(*(scale * (column - tile.left) for column in tile.columns))
        outer_rows = slice(*(scale * row for row in tile.rows))
        outer_columns = slice(*(scale * column for column in tile.columns))
        whole[:, :, outer_rows, outer_columns] = enlarged[:, :, inner_rows, inner_columns].cpu()
        done()
    return whole


def find_reach(model: nn.Module) -> int | None:
    """Find how many pixels away from it a pixel of the output still depends on.

    The gradient of the output around the middle of a noise image is looked at. `None` if it is not
    within about 80 pixels, as for networks that take means over the whole image; if parts of an
    image that are larger by it are not enlarged as the whole is, as by networks that divide an
    image evenly; or if there is no gradient that fits in 4 GiB.
    """
    device, dtype = placement(model)
    saved = 0
    for side, next_side in zip(_SIDES, (*_SIDES[1:], None), strict=True):
        image = _noise(side).to(device, dtype).requires_grad_()
        try:
            seen, saved = _touched(model, image)
        except Exception:  # noqa: BLE001 - a network that has no gradient, or takes no such image
            return None
        if not all(seen.values()):
            return None
        if all(lines[0] > 0 and lines[-1] < side - 1 for lines in seen.values()):
            reach = max(max(at - lines[0], lines[-1] - at) for at, lines in seen.items())
            tried = (reach + more for more in _MARGINS)
            return next((each for each in tried if _is_enough(model, each)), None)
        if next_side is None or saved * (next_side / side) ** 2 > _MOST_MEMORY:
            break
    return None


def _touched(model: nn.Module, image: Tensor) -> tuple[dict[int, list[int]], int]:
    """Return the rows and columns that pixels around the middle depend on, in order, by place.

    And the bytes that autograd kept for it.
    """
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.nbytes
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    with in_mode(model, training=False), torch.enable_grad(), hooks:
        output = model(image)
        side = image.shape[3]
        scale = output.shape[3] // side
        found = {}
        for place in (side // 2 + more for more in _PLACES):
            at = slice(place * scale, (place + 1) * scale)
            value = output[:, :, at, at].abs().sum()
            (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
            seen = gradient[0].abs().sum(0) > 0
            found[place] = (seen.any(0) | seen.any(1)).nonzero().flatten().tolist()
    return found, saved


def _is_enough(model: nn.Module, reach: int) -> bool:
    """Whether parts of an image are enlarged as the whole is, of even and of odd sides."""
    device, dtype = placement(model)
    side = -(-2 * reach // _STEP) * _STEP + 4 * _STEP
    smooth = functional.interpolate(_noise(4), (side, side), mode="bilinear")
    try:
        return all(
            _is_alike(model, image.to(device, dtype), end, reach)
            for image, end in ((smooth, side), (_noise(side), side - 5))
        )
    except MeasureError:  # of a size that it does not take, which is told when it is used
        return True


def _is_alike(model: nn.Module, image: Tensor, end: int, reach: int) -> bool:
    """Whether the part of an image that ends at a line is enlarged as the whole is."""
    whole, part = infer(model, image), infer(model, image[:, :, _STEP:end, _STEP:end])
    scale = whole.shape[3] // image.shape[3]
    inner = slice(scale * (_STEP + reach), scale * (end - reach))
    same = slice(scale * reach, scale * (end - _STEP - reach))
    distance = (part[:, :, same, same] - whole[:, :, inner, inner]).abs().max()
    near = _ALIKE.get(image.dtype, _ROUGHLY) * max(1.0, float(whole.abs().max()))
    return float(distance) <= near


def _noise(side: int) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def _begin(line: int) -> int:
    """The last line before this one, or this, that a tile may begin at."""
    return max(line, 0) // _STEP * _STEP


def _scale_of(enlarged: Tensor, tile: Tile) -> int:
    """Return how many times larger the output is in both directions."""
    height, width = enlarged.shape[2:]
    scale = height // tile.height
    if scale < 1 or (height, width) != (tile.height * scale, tile.width * scale):
        message = (
            f"the network turns {tile.width}x{tile.height} pixels into {width}x{height}, which is "
            "no whole number of times as large; name a network that enlarges"
        )
        raise MeasureError(message)
    return scale


def parts(length: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a length into parts of nearly equal size, of at most `size`; 0 leaves it whole."""
    count = -(-length // size) if size else 1
    for part in range(count):
        yield part * length // count, (part + 1) * length // count
