r"""Numbers of few bits: what a format can hold, what rounding to it loses, and how training lives with that.

Formats, and rounding to them, are in precision_formats; sums and dot products in precision_sums; blocks that share a
scale in precision_blocks; the scale of the loss, and the gradients that a format loses, in precision_training.
Article papers/precision.md, derivation derivations/precision.py, laws verify/precision.py.
"""

from __future__ import annotations

from reference.precision_blocks import dequantize as dequantize
from reference.precision_blocks import quantize as quantize
from reference.precision_formats import FORMATS as FORMATS
from reference.precision_formats import decode as decode
from reference.precision_formats import encode as encode
from reference.precision_formats import rounded as rounded
from reference.precision_formats import stochastic_round as stochastic_round
from reference.precision_sums import dot as dot
from reference.precision_sums import kahan_sum as kahan_sum
from reference.precision_sums import pairwise_sum as pairwise_sum
from reference.precision_training import loss_scales as loss_scales
from reference.precision_training import monitor as monitor
from reference.precision_training import scale_init as scale_init
from reference.precision_training import scale_update as scale_update
from reference.precision_training import scaled_sgd as scaled_sgd
