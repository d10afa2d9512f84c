r"""Numbers of few bits: what a format can hold, what rounding to it loses, and how training lives with that.

Formats, and rounding to them, are in precision_formats; sums and dot products in precision_sums; blocks that share a
scale in precision_blocks; the scale of the loss, and the gradients that a format loses, in precision_training.
Article papers/precision.md, derivation derivations/precision.py, laws verify/precision.py.
"""

from __future__ import annotations

from reference import precision_blocks, precision_formats, precision_sums, precision_training

FORMATS = precision_formats.FORMATS
decode, encode, rounded = precision_formats.decode, precision_formats.encode, precision_formats.rounded
stochastic_round = precision_formats.stochastic_round
kahan_sum, pairwise_sum, dot = precision_sums.kahan_sum, precision_sums.pairwise_sum, precision_sums.dot
quantize, dequantize = precision_blocks.quantize, precision_blocks.dequantize
scale_init, scale_update = precision_training.scale_init, precision_training.scale_update
loss_scales, scaled_sgd, monitor = (
    precision_training.loss_scales,
    precision_training.scaled_sgd,
    precision_training.monitor,
)
