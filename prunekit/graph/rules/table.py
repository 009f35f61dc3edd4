"""What each operator says about the channels of its operands: one table, by family.

A rule is a function of a `Call`. It returns the axes of the operator's outputs, and tells
`Facts` which labels are equal, form a product, or must stay. ATen itself tags what works on each
element. An operator without a rule freezes every axis that it touches: unknown is never guessed.
CONTRIBUTING.md adds a rule, step by step.
"""

from __future__ import annotations

__all__ = ["DRAWN_IN_TRAINING", "RULES", "apply_rule"]

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch

from prunekit.graph.rules import contraction, elementwise, movement, reduction, selection, spatial
from prunekit.graph.rules.call import Axes, Call, Rule

_FAMILIES: Mapping[Rule, str] = {
    # each element
    elementwise.pointwise: (
        "copy_ _prelu_kernel mish_ hardswish hardswish_ complex polar masked_fill masked_fill_"
    ),
    elementwise.same: (
        "clone contiguous detach detach_ alias lift_fresh lift_fresh_copy _to_copy to _conj "
        "_neg_view resolve_conj resolve_neg fill fill_ zero_ "
        " requires_grad_ fake_quantize_per_tensor_affine_cachemask "
        "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
        "_fake_quantize_learnable_per_tensor_affine"
    ),
    elementwise.drawn: (
        "bernoulli bernoulli_ normal_ uniform_ random_ exponential_ dropout native_dropout "
        "alpha_dropout rand_like randn_like randint_like rrelu_with_noise"
    ),
    elementwise.like: "zeros_like ones_like empty_like full_like",
    elementwise.made: (
        "zeros ones empty full randint new_zeros new_ones new_empty new_full "
        "empty_strided new_empty_strided empty_permuted"
    ),
    elementwise.noise: "rand randn",
    elementwise.fixed: "arange linspace logspace scalar_tensor eye tril_indices triu_indices",
    elementwise.escaped: "item",
    elementwise.nothing: (
        "_local_scalar_dense _assert_async _assert_scalar _assert_tensor_metadata is_nonzero "
        "equal is_same_size"
    ),
    # contractions
    contraction.convolution: "convolution _convolution convolution_overrideable",
    contraction.linear: "linear",
    contraction.addmm: "addmm",
    contraction.addmv: "addmv",
    contraction.baddbmm: "baddbmm addbmm",
    contraction.mm: "mm",
    contraction.bmm: "bmm",
    contraction.mv: "mv",
    contraction.dot: "dot vdot",
    contraction.attention: (
        "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable "
        "_scaled_dot_product_attention_math_for_mps"
    ),
    # movement
    movement.view: (
        "view _unsafe_view reshape unsqueeze unsqueeze_ squeeze squeeze_ _reshape_alias flatten"
    ),
    movement.strided: "as_strided as_strided_",
    movement.permute: "permute",
    movement.transpose: "transpose transpose_",
    movement.matrix_transpose: "t t_",
    movement.expand: "expand",
    movement.repeat: "repeat tile",
    movement.cat: "cat",
    movement.stack: "stack",
    movement.flip: "flip",
    movement.roll: "roll",
    movement.quarter_turn: "rot90",
    movement.pixel_shuffle: "pixel_shuffle",
    movement.pixel_unshuffle: "pixel_unshuffle",
    movement.channel_shuffle: "channel_shuffle native_channel_shuffle",
    movement.unfold: "im2col",
    movement.fold: "col2im",
    movement.view_as_real: "view_as_real",
    movement.view_as_complex: "view_as_complex",
    # selection
    selection.slice_: "slice narrow",
    selection.split: "split split_with_sizes unsafe_split unsafe_split_with_sizes",
    selection.select: "select unbind",
    selection.index: "index _unsafe_index",
    selection.index_put: "index_put index_put_ _index_put_impl_ _unsafe_index_put",
    selection.along: (
        "cumsum cumsum_ cumprod cummax cummin logcumsumexp sort argsort topk argmax argmin "
        "kthvalue mode"
    ),
    selection.best_along: "max min median nanmedian",
    selection.index_along: "index_select",
    selection.index_write: "index_add index_add_ index_copy index_copy_ index_fill index_fill_",
    selection.gather: "gather",
    selection.scatter: "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_",
    selection.masked_scatter: "masked_scatter masked_scatter_",
    selection.slice_scatter: "slice_scatter",
    selection.diagonal: "diagonal",
    selection.embedding: "embedding",
    selection.glu: "glu",
    selection.unfold_along: "unfold",
    # many at once
    reduction.batch_norm: (
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "cudnn_batch_norm _batch_norm_no_update _batch_norm_with_update"
    ),
    reduction.layer_norm: "native_layer_norm",
    reduction.rms_norm: "_fused_rms_norm",
    reduction.group_norm: "native_group_norm",
    reduction.weight_norm: "_weight_norm_interface _weight_norm",
    reduction.reduction: (
        "mean sum amax amin prod var std var_mean std_mean logsumexp norm linalg_vector_norm any "
        "all aminmax count_nonzero nansum nanmean"
    ),
    reduction.softmax: "_softmax _log_softmax softmax log_softmax _safe_softmax",
    reduction.triangle: "tril triu tril_ triu_",
    reduction.distance: "_cdist_forward _euclidean_dist",
    reduction.fused_cell: "_thnn_fused_lstm_cell _thnn_fused_gru_cell",
    # space
    spatial.resample: (
        "max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d "
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d "
        "adaptive_max_pool3d max_unpool2d constant_pad_nd reflection_pad1d reflection_pad2d "
        "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
        "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_linear1d "
        "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa "
        "_upsample_bicubic2d_aa"
    ),
    spatial.grid_sample: "grid_sampler_2d grid_sampler_3d cudnn_grid_sampler",
    spatial.affine_grid: "affine_grid_generator",
    spatial.fourier: "_fft_r2c _fft_c2c _fft_c2r",
}

RULES: Mapping[str, Rule] = MappingProxyType(
    {f"aten.{name}": rule for rule, names in _FAMILIES.items() for name in names.split()}
    | {"torchvision.deform_conv2d": contraction.deformable_convolution}
)
"""Rule of every operator that is not element-wise, by its name without overload."""

DRAWN_IN_TRAINING: Mapping[str, Rule] = MappingProxyType(
    {name: elementwise.same for name, rule in RULES.items() if rule is elementwise.drawn}
)
"""In training it matters to nobody which channel gets which random numbers, as in dropout."""


def apply_rule(call: Call, rules: Mapping[str, Rule] = RULES) -> Sequence[Axes]:
    """Look the operator up and apply its rule."""
    rule = rules.get(call.operator.name)
    if rule is None:
        is_pointwise = torch.Tag.pointwise in call.operator.function.tags
        rule = elementwise.pointwise if is_pointwise else elementwise.unknown
    mark, costs = call.facts.mark(), len(call.contractions)
    try:
        outputs = rule(call)
        _check(call, outputs)
    except Exception as error:  # noqa: BLE001 - a rule may be the caller's own
        # a form that the rule does not foresee: what it said before it noticed is not trusted
        call.facts.undo(mark)
        del call.contractions[costs:]
        name = getattr(rule, "__name__", type(rule).__name__)
        text = f"form of an operator that its rule, {name}, does not know ({error})"
        return call.freeze_all(text, "unknown")
    return outputs


def _check(call: Call, outputs: Sequence[Axes]) -> None:
    """An axis has as many labels as it is long."""
    for output, axes in zip(call.operator.outputs, outputs, strict=True):
        for axis, size in zip(axes, call.shape(output), strict=True):
            if axis is not None and len(axis) != size:
                message = f"{len(axis)} labels for an axis of length {size}"
                raise ValueError(message)
