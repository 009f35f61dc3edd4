"""Unstructured sparsity: masks, how they are chosen and proven, and files without the zeros."""

__all__ = [
    "FileSize",
    "MaskProof",
    "MaskRule",
    "Masks",
    "Pattern",
    "SemiStructured",
    "SparseFile",
    "apply_masks",
    "check_zeros",
    "choose_masks",
    "file_sizes",
    "find_weights",
    "follow_plan",
    "from_torch_masks",
    "has_torch_masks",
    "impose",
    "in_scope",
    "is_sparse",
    "load_sparse",
    "prove_masks",
    "read_sparse",
    "save_sparse",
    "semi_structured",
    "to_torch_masks",
    "unsupported_device",
]

from prunekit.sparse.choose import MaskRule, choose_masks
from prunekit.sparse.layers import find_weights, in_scope
from prunekit.sparse.masks import (
    Masks,
    Pattern,
    apply_masks,
    follow_plan,
    from_torch_masks,
    has_torch_masks,
    impose,
    to_torch_masks,
)
from prunekit.sparse.prove import MaskProof, check_zeros, prove_masks
from prunekit.sparse.semi import SemiStructured, semi_structured, unsupported_device
from prunekit.sparse.sizes import FileSize, file_sizes
from prunekit.sparse.store import SparseFile, is_sparse, load_sparse, read_sparse, save_sparse
