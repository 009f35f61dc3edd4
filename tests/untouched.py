"""A picture of a network, so that a test can say that nothing of it has changed."""

from __future__ import annotations

__all__ = ["assert_untouched", "picture"]

import torch
from torch import Tensor, nn

from prunekit.graph import tensors_of

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")


def picture(model: nn.Module) -> dict[str, object]:
    """Everything about a network, and about torch around it, that must survive."""
    modules = {
        name: (
            id(module),
            type(module),
            module.training,
            [list(getattr(module, hooks).values()) for hooks in HOOKS],
            {k: v for k, v in vars(module).items() if isinstance(v, int | str | float)},
            sorted(vars(module)),
        )
        for name, module in model.named_modules()
    }
    return {
        "tensors": [_tensor(tensor) for tensor in tensors_of(model)],
        "names": list(model.state_dict()),
        "modules": modules,
        "random": torch.random.get_rng_state().tolist(),
        "torch": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()),
    }


def assert_untouched(model: nn.Module, before: dict[str, object]) -> None:
    after = picture(model)
    for part, content in before.items():
        assert after[part] == content, part


def _tensor(tensor: Tensor) -> tuple[object, ...]:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    where = (id(tensor), tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
    unused = tensor.is_leaf and tensor.grad is None  # only leaves gather gradients
    return (*where, tensor.requires_grad, unused, bytes(flat.numpy()))
