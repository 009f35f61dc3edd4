"""What a report says, as plain data: every format is rendered from this and nothing else."""

from __future__ import annotations

__all__ = [
    "BICUBIC",
    "DENSE",
    "HR",
    "SLIM",
    "SLIM_BEFORE",
    "BlockRow",
    "Crop",
    "CrossCheck",
    "Entry",
    "FrozenRow",
    "GroupRow",
    "Picture",
    "Preview",
    "Report",
    "Sparsity",
    "SparsityRow",
]

from collections.abc import Mapping
from dataclasses import dataclass, field

from prunekit.data.image import Image
from prunekit.measure.counters import CounterResult
from prunekit.measure.latency import Latency
from prunekit.measure.protocol import Protocol
from prunekit.measure.scores import Scores
from prunekit.sparse import FileSize, MaskProof
from prunekit.surgery.verify import Verification
from prunekit.train.curve import TrainingCurve

DENSE = "dense"
SLIM_BEFORE = "slim before fine-tuning"
SLIM = "slim"
BICUBIC = "bicubic"
HR = "HR"


@dataclass(frozen=True)
class Entry:
    """One line of the main table: a network, or bicubic interpolation."""

    name: str  # one of the names above, or any other
    params: int | None = None
    macs: int | None = None  # at the output size that the convention states
    latency: Latency | None = None
    quality: Scores | None = None


@dataclass(frozen=True)
class GroupRow:
    """A group before and after pruning."""

    name: str
    kind: str  # what a unit of the group is
    width_before: int
    width_after: int  # 0 to width_before
    axes: int  # tensor axes that the group spans
    params_share: float  # 0 to 1; of the dense network's parameters


@dataclass(frozen=True)
class BlockRow:
    """A block that was removed whole."""

    name: str  # path of the module
    params: int  # of the dense network, in it
    params_share: float  # 0 to 1; of the dense network's parameters


@dataclass(frozen=True)
class FrozenRow:
    """Axes that had to stay for the same reason."""

    reason: str
    operator: str  # empty if no operator froze them
    module: str  # empty for the network itself
    axes: int


@dataclass(frozen=True)
class SparsityRow:
    """A weight of a convolution or linear layer, and how much of it is zero."""

    name: str
    shape: tuple[int, ...]
    weights: int
    zeros: int  # masked, 0 to weights
    pattern: str = ""  # such as 2:4, if it has one
    reason: str = ""  # why it has no mask, if it has none


@dataclass(frozen=True)
class Sparsity:
    """Which weights are zero, and what that is good for."""

    rows: tuple[SparsityRow, ...]  # every weight of a convolution or linear layer
    files: tuple[FileSize, ...] = ()
    proof: MaskProof | None = None  # of the last masks that were made outside of a training
    notes: tuple[str, ...] = ()

    @property
    def zeros(self) -> int:
        """Masked weights."""
        return sum(row.zeros for row in self.rows)

    @property
    def weights(self) -> int:
        """Weights of convolutions and linear layers, masked or not."""
        return sum(row.weights for row in self.rows)


@dataclass(frozen=True)
class CrossCheck:
    """What several counters say of one network at one input."""

    network: str  # name of the entry
    input_shape: tuple[int, ...]  # of the input that all of them counted at
    results: tuple[CounterResult, ...]  # the first one is what the others are compared with


@dataclass(frozen=True, eq=False)
class Picture:
    """A square that was cut from HR or from one method's output."""

    name: str  # "HR", or the name of an entry
    pixels: Image = field(repr=False)
    psnr: float | None  # dB over the crop, no border; None for HR itself; infinite if equal


@dataclass(frozen=True, eq=False)
class Crop:
    """The same square in HR and in every output."""

    image: str
    left: int  # pixels of the HR image, as all four
    top: int
    size: int
    pictures: tuple[Picture, ...]  # HR first, then the entries from the plainest to the last


@dataclass(frozen=True, eq=False)
class Preview:
    """A whole HR image, reduced, on which the report shows where crops were cut."""

    image: str
    width: int  # of the full image
    height: int
    pixels: Image = field(repr=False)


@dataclass(frozen=True, eq=False)
class Report:
    """One run. What was not measured is None or empty, and no format mentions it."""

    title: str
    prunekit: str  # version
    created: str  # ISO 8601, UTC
    entries: tuple[Entry, ...]
    convention: tuple[str, ...] = ()  # what the figures of the entries mean, a sentence each
    groups: tuple[GroupRow, ...] = ()
    blocks: tuple[BlockRow, ...] = ()  # that were removed
    frozen: tuple[FrozenRow, ...] = ()
    proof: Verification | None = None  # made right after surgery, before any training
    sparsity: Sparsity | None = None
    cross_checks: tuple[CrossCheck, ...] = ()
    training: tuple[TrainingCurve, ...] = ()
    crops: tuple[Crop, ...] = ()
    previews: tuple[Preview, ...] = ()  # one of every image that a crop comes from
    seconds: tuple[tuple[str, float], ...] = ()  # stage and its duration, in order
    environment: Mapping[str, object] = field(default_factory=dict)  # plain JSON values
    recipe: str = ""  # resolved, YAML
    notes: tuple[str, ...] = ()  # what is left out, and doubts

    @property
    def protocol(self) -> Protocol | None:
        """How the entries were compared with HR; None if no entry was."""
        return next((entry.quality.protocol for entry in self.entries if entry.quality), None)

    @property
    def psnr_label(self) -> str:
        """What the PSNR of the entries is called, such as `PSNR-Y`."""
        return self.protocol.label if self.protocol else "PSNR"

    def entry(self, name: str) -> Entry | None:
        """Return the entry of that name, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)
