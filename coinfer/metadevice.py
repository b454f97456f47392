"""Networks as shapes without data, on torch's meta device."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def on_meta(network: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers have shapes but no data.

    What is shared stays shared, which `Module.to` does not promise.
    """
    tensors = (*network.parameters(), *network.buffers())
    memo: dict[int, Any] = {id(tensor): _like(tensor) for tensor in tensors}
    return copy.deepcopy(network, memo)


def _like(tensor: torch.Tensor) -> torch.Tensor:
    meta = torch.empty_like(tensor, device="meta")
    return nn.Parameter(meta, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else meta
