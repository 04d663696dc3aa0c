"""A device that is none: tensors compute on the processor and say that they are elsewhere.

What a GPU would refuse is refused here, too: operations on tensors of two devices, a processor's
generator, arrays of tensors that were not brought back. So a machine without a GPU can prove that
what was written for one keeps its tensors apart. The name is torch's "meta", the one device without
hardware that torch knows everywhere.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = "meta"
# A GPU takes indices that are on the processor, and copies between the two.
BETWEEN = {"aten::_to_copy", "aten::copy_", "aten::index", "aten::index_put_", "aten::index_put"}


class Elsewhere(Tensor):
    """A tensor that claims to be on `DEVICE`; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> Elsewhere:
        found: Elsewhere = Tensor._make_wrapper_subclass(
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=torch.device(DEVICE),
            requires_grad=real.requires_grad,
        )
        found.held = real
        return found

    def tolist(self) -> Any:
        """As a GPU's tensor: the values, brought to the processor."""
        return self.held.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


class Pretence(TorchDispatchMode):
    """While it lasts, what is made on `DEVICE` has values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


def carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the processor; its results are where the operands said they were."""
    flat = tree_flatten((args, kwargs))[0]
    tensors = [value for value in flat if isinstance(value, Tensor)]
    away = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    asked = kwargs.get("device")
    check(func, tensors, bool(away) or (asked is not None and torch.device(asked).type == DEVICE),
          flat)  # fmt: skip
    here = tree_map_only(Elsewhere, lambda tensor: tensor.held, (args, kwargs))
    positional, named = here
    if asked is not None:
        named = {**named, "device": "cpu"}
    found = func(*positional, **named)
    there = bool(away) if asked is None else torch.device(asked).type == DEVICE
    if func._schema.name == "aten::copy_":
        there = isinstance(args[0], Elsewhere)
    if not there:
        return found
    wrapped = tree_map_only(Tensor, Elsewhere, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if away else wrapped


def check(func: Any, tensors: list[Tensor], away: bool, flat: list[Any]) -> None:
    """Refuse what a GPU would refuse, and what this pretence could not do rightly."""
    assert all(isinstance(t, Elsewhere) or t.device.type != DEVICE for t in tensors), "no values"
    if not away:
        return
    name = func._schema.name
    if any(isinstance(value, torch.Generator) for value in flat):
        raise RuntimeError(f"{name} was given a processor's generator for the GPU")
    mixed = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim() > 0]
    if mixed and name not in BETWEEN:
        raise RuntimeError(f"{name} was given tensors on the GPU and on the processor")


@contextlib.contextmanager
def pretended_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the name of a device on which anything can be trained while this lasts."""
    # It has no autocast of its own.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    # Operations that are made of others reach a dispatch mode only where gradients could be asked.
    no_grad = torch.no_grad
    monkeypatch.setattr(torch.inference_mode, "__enter__", no_grad.__enter__)
    monkeypatch.setattr(torch.inference_mode, "__exit__", no_grad.__exit__)
    # Lists become tensors past the mode, and would have no values; so would lists as indices.
    monkeypatch.setattr(torch, "tensor", brought(torch.tensor))
    with Pretence(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "for .*copying from a non-meta parameter")
        yield DEVICE


def brought(tensor: Any) -> Any:
    """`torch.tensor` that makes its values on the processor and brings them to the device."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        found: Tensor = tensor(*args, **kwargs)
        return found if device is None else found.to(device)

    return made
