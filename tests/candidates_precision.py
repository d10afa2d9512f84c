"""Conversions to E4M3 and back, as people write them."""

import torch


def cast(x):
    """PyTorch's own: it saturates."""
    return x.to(torch.float8_e4m3fn).to(x.dtype)


def ties_away(x):
    """Half a step is rounded away from zero."""
    size = x.abs().double()
    exponent = (torch.frexp(size).exponent - 1).clamp(min=-6)
    step = 2.0 ** (exponent - 3).double()
    value = (size / step + 0.5).floor() * step
    value = torch.where(value > 448, torch.nan, value)
    return torch.copysign(value, x.double()).to(x.dtype)
