"""What must be set before anything is imported."""

import os

os.environ["TRITON_INTERPRET"] = "1"  # kernels run on the CPU; Triton reads it once, and PyTorch may import Triton first
