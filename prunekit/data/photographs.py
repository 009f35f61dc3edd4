"""The freely licensed photographs that ship inside the scikit-image package."""

from __future__ import annotations

__all__ = ["PHOTOGRAPHS", "Photograph", "photograph_folder"]

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from prunekit.errors import DataError


@dataclass(frozen=True)
class Photograph:
    """One file of the package and the terms it may be used under."""

    file: str  # name in the package's data folder
    licence: str  # as scikit-image states it


PHOTOGRAPHS = {
    "astronaut": Photograph("astronaut.png", "public domain, NASA"),
    "brick": Photograph("brick.png", "CC0, cc0textures.com"),
    "camera": Photograph("camera.png", "CC0, Lav Varshney"),
    "chelsea": Photograph("chelsea.png", "CC0, Stefan van der Walt"),
    "coffee": Photograph("coffee.png", "CC0, Rachel Michetti"),
    "grass": Photograph("grass.png", "CC0, linolafett"),
    "gravel": Photograph("gravel.png", "CC0, cc0textures.com"),
    "hubble_deep_field": Photograph("hubble_deep_field.jpg", "public domain, NASA"),
    "rocket": Photograph("rocket.jpg", "public domain, SpaceX"),
}
"""Only those that scikit-image plainly calls CC0 or public domain, and that its wheel holds."""


def photograph_folder() -> Path:
    """Find the data folder of scikit-image without importing it, so that nothing is downloaded."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        message = (
            "photographs of scikit-image are asked for and it is not installed; "
            "pip install 'prunekit[demo]', or name a folder of your own"
        )
        raise DataError(message)
    return Path(spec.submodule_search_locations[0]) / "data"
