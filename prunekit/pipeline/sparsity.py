"""What masks come to: zeros layer by layer, bytes on disk, and what hardware makes of them."""

from __future__ import annotations

__all__ = ["measure_sparsity"]

from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn

from prunekit.errors import SurgeryError
from prunekit.graph import clone_model
from prunekit.plan import Plan
from prunekit.report import Sparsity, SparsityRow
from prunekit.sparse import (
    FileSize,
    MaskProof,
    Masks,
    file_sizes,
    find_weights,
    semi_structured,
    unsupported_device,
)

_ON_TENSOR_CORES = (2, 4)


def measure_sparsity(
    model: nn.Module, plan: Plan, masks: Masks, proofs: Sequence[MaskProof]
) -> Sparsity:
    """Count the zeros of a network, and the bytes that it takes without them."""
    notes = list(_notes(model, masks, proofs))
    files: tuple[FileSize, ...] = ()
    try:
        files = file_sizes(model, plan, masks)
    except SurgeryError as error:  # a network that cannot be saved was pruned all the same
        notes.append(f"No file was measured: {error}.")
    return Sparsity(
        rows=tuple(_rows(model, masks)),
        files=files,
        proof=proofs[-1] if proofs else None,
        notes=tuple(notes),
    )


def _rows(model: nn.Module, masks: Masks) -> Iterator[SparsityRow]:
    for weight in find_weights(model)[0]:
        mask, pattern = masks.kept.get(weight.name), masks.patterns.get(weight.name)
        yield SparsityRow(
            name=weight.name,
            shape=weight.shape,
            weights=weight.count,
            zeros=0 if mask is None else weight.count - int(mask.sum()),
            pattern=str(pattern or ""),
            reason=masks.dense.get(weight.name, ""),
        )


def _notes(model: nn.Module, masks: Masks, proofs: Sequence[MaskProof]) -> Iterator[str]:
    yield (
        f"{masks.zeros:,} of {masks.weights:,} weights in scope ({masks.sparsity:.2%}) are exactly "
        "zero, also after any training. MACs and parameters are counted with them: no speed is "
        "gained without sparse kernels, which PyTorch has none of for convolutions."
    )
    if proofs:
        yield (f"Proof of the masks, made when they were chosen, tensor by tensor: {proofs[-1]}.")
    else:
        yield (
            "The masks came about in training, so there is no dense network to compare with; that "
            "every masked weight is zero was found out at its end."
        )
    known = {weight.name for weight in find_weights(model)[0]}
    computed = {name: why for name, why in masks.dense.items() if name not in known}
    for name, why in computed.items():
        yield f"'{name}' has no mask: it is {why}."
    if any((p.stays, p.block) == _ON_TENSOR_CORES for p in masks.patterns.values()):
        yield _on_hardware(model, masks)


def _on_hardware(model: nn.Module, masks: Masks) -> str:
    """Which 2:4 layers the device can run so."""
    device = next(model.parameters()).device
    why = unsupported_device(device)
    if why:
        return f"2:4 does not run on sparse tensor cores here: {why}."
    half = semi_structured(clone_model(model).half(), masks)
    stays = Counter(half.dense.values())
    rest = "; ".join(f"{count} not: {reason}" for reason, count in stays.items())
    return (
        f"2:4 runs on sparse tensor cores in {len(half.converted)} layers in half precision "
        f"(prunekit.sparse.semi_structured){'; ' if rest else ''}{rest}."
    )
