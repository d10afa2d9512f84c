"""What must be set before anything is imported."""

import os

# kernels run on the CPU; Triton reads it once, and PyTorch may import Triton first
os.environ["TRITON_INTERPRET"] = "1"
