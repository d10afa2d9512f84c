"""Arrays of somebody's framework from bytes and back: torch, jax or numpy, which is imported when it is known.

Light, and without anything of this repository: verify/candidate.py runs it beside the function that is judged.
"""

from __future__ import annotations

import importlib


class Complaint(Exception):
    """Something is wrong with what the function gave, though it raised nothing."""


def first(value):
    """Of several results the one that is differentiated."""
    return value[0] if isinstance(value, (tuple, list)) else value


class Arrays:
    """Tensors of one framework from bytes and back; buffers of one shape are reused with new values."""

    def __init__(self, framework, device):
        import numpy as np

        self.np, self.framework, self.device, self.buffers = np, framework, device, {}
        self.library = importlib.import_module(framework if framework != "jax" else "jax.numpy")
        if device != "cpu":
            if framework != "torch":
                raise ValueError(f"--device {device}: expected a torch function, received one of {framework}")
            self.library.empty(0, device=device)  # says what is wrong with the device

    def dtype(self, name):
        if name == "bfloat16":
            return importlib.import_module("ml_dtypes").bfloat16
        return self.np.dtype(name)

    def read(self, name, dtype, shape, strided, data):
        if self.framework == "torch":
            torch = self.library
            fresh = torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype)) if data else torch.empty(0)
            fresh = fresh.reshape(shape).to(getattr(torch, dtype))
            buffer = self.buffers.get(key := (name, dtype, tuple(shape), strided))
            if buffer is None:
                buffer = fresh.mT.contiguous().mT if strided and fresh.ndim > 1 else fresh.clone()
                buffer = self.buffers[key] = buffer.to(self.device)
            return buffer.copy_(fresh)
        array = self.np.frombuffer(data, dtype=self.dtype(dtype)).reshape(shape)
        if self.framework == "jax":
            array = array.astype("int32") if dtype == "int64" and not self.wide else array
            return self.library.asarray(array)
        return self.np.array(array, order="F" if strided else "C")

    def write(self, value):
        """(dtype, shape, bytes) of a plain array; TypeError for anything else, a subclass above all."""
        if self.framework == "torch":
            torch = self.library
            if type(value) not in (torch.Tensor, torch.nn.Parameter):
                raise Complaint(f"expected a torch.Tensor, received {type(value).__name__}")
            if value.device.type != torch.device(self.device).type:
                raise Complaint(f"expected a result on {self.device}, received one on {value.device.type}")
            if value.device.type == "cuda":
                torch.cuda.synchronize()
            value = value.detach().cpu().contiguous()
            raw = value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
            return str(value.dtype).removeprefix("torch."), list(value.shape), raw
        if self.framework == "numpy" and isinstance(value, self.np.generic):
            value = self.np.asarray(value)
        if self.framework == "numpy" and type(value) is not self.np.ndarray:
            raise Complaint(f"expected a numpy.ndarray, received {type(value).__name__}")
        if self.framework == "jax" and not isinstance(value, importlib.import_module("jax").Array):
            raise Complaint(f"expected a jax.Array, received {type(value).__name__}")
        value = self.np.ascontiguousarray(self.np.asarray(value)).reshape(self.np.shape(value))
        return str(value.dtype), list(value.shape), value.tobytes()

    def place(self, value):
        """Where in memory an array begins."""
        if self.framework == "torch":
            return value.untyped_storage().data_ptr()
        return value.__array_interface__["data"][0] if self.framework == "numpy" else id(value)

    def empty(self, dtype, shape):
        """A buffer to be written into, full of NaN."""
        if self.framework == "torch":
            kind = getattr(self.library, dtype)
            return self.library.full(shape, float("nan") if kind.is_floating_point else -1, dtype=kind).to(self.device)
        if self.framework == "jax":
            raise Complaint("--out: jax arrays cannot be written into")
        return self.np.full(shape, self.np.nan if "float" in dtype else -1, dtype=self.dtype(dtype))

    def slopes(self, function, positional, named, xs, cotangent):
        """The gradients of ⟨cotangent, function⟩ by the arguments xs."""
        if self.framework == "torch":
            for x in xs:
                x.requires_grad_()
            try:
                value = first(function(*positional, **named))
                return self.library.autograd.grad(value, xs, cotangent.to(value.dtype), materialize_grads=True)
            finally:
                for x in xs:  # they are reused
                    x.requires_grad_(False)
        if self.framework == "jax":
            place = {id(x): i for i, x in enumerate(xs)}

            def moved(*values):
                def at(x):
                    return values[place[id(x)]] if id(x) in place else x

                return first(function(*map(at, positional), **{name: at(x) for name, x in named.items()}))

            value, back = importlib.import_module("jax").vjp(moved, *xs)
            return back(cotangent.astype(value.dtype))
        raise Complaint("gradients need torch or jax: numpy has no derivatives")

    def widened(self, wanted):
        """In jax 64-bit numbers are an option: off, as its users have it, unless they are checked in float64."""
        self.wide = wanted
        if self.framework == "jax":
            importlib.import_module("jax").config.update("jax_enable_x64", wanted)

    def poisoned(self, wanted):
        """From now on torch hands out memory full of NaN, so that what a function never wrote is seen; or not."""
        if self.framework == "torch":
            # deterministic algorithms fill uninitialized memory; the public setter imports a compiler, for seconds
            self.library._C._set_deterministic_algorithms(wanted, warn_only=True)
