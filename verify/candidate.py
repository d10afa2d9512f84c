"""The process in which somebody's function runs: it gets inputs and gives outputs, as bytes, and holds no answer.

Run as a script, `candidate.py MODULE_OR_FILE:FUNCTION FRAMEWORK`. A message is its length in eight bytes, one line of
JSON, and the bytes of the tensors that the line describes. What the function prints goes to standard error.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import struct
import sys
import traceback
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)


def receive(stream):
    """(header, bytes) of the next message, or None at the end."""
    size = stream.read(8)
    if len(size) < 8:
        return None
    body = stream.read(struct.unpack("<Q", size)[0])
    line, _, blob = body.partition(b"\n")
    return json.loads(line), blob


def send(stream, header, blob=b""):
    body = json.dumps(header).encode() + b"\n" + blob
    stream.write(struct.pack("<Q", len(body)) + body)
    stream.flush()


def load(target):
    """The function of "pkg.module:name" or "path/file.py:name"; attributes may be dotted."""
    where, _, name = target.rpartition(":")
    if where.endswith(".py"):
        if not Path(where).is_file():
            raise FileNotFoundError(f"no file {where}")
        sys.path.insert(0, str(Path(where).resolve().parent))
        spec = importlib.util.spec_from_file_location("candidate_module", where)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["candidate_module"] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(where)
    for part in name.split("."):
        if not hasattr(module, part):
            raise AttributeError(f"{where} has no function {name}")
        module = getattr(module, part)
    if not callable(module):
        raise TypeError(f"{target} is not a function")
    return module


def parameters(function):
    """[[name, may be passed by name, has a default], …], or None where a builtin does not tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [[p.name, p.kind in named, p.default is not inspect.Parameter.empty] for p in found
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip


class Arrays:
    """Tensors of one framework from bytes and back; buffers of one shape are reused with new values."""

    def __init__(self, framework):
        import numpy as np

        self.np, self.framework, self.buffers = np, framework, {}
        self.library = importlib.import_module(framework if framework != "jax" else "jax.numpy")
        if framework == "jax":
            importlib.import_module("jax").config.update("jax_enable_x64", True)

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
                self.buffers[key] = buffer
            return buffer.copy_(fresh)
        array = self.np.frombuffer(data, dtype=self.dtype(dtype)).reshape(shape)
        if self.framework == "jax":
            return self.library.asarray(array)
        return self.np.array(array, order="F" if strided else "C")

    def write(self, value):
        """(dtype, shape, bytes) of a plain array; TypeError for anything else, a subclass above all."""
        if self.framework == "torch":
            torch = self.library
            if type(value) not in (torch.Tensor, torch.nn.Parameter):
                raise TypeError(f"expected a torch.Tensor, received {type(value).__name__}")
            if value.device.type == "cuda":
                torch.cuda.synchronize()
            value = value.detach().cpu().contiguous()
            raw = value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
            return str(value.dtype).removeprefix("torch."), list(value.shape), raw
        if self.framework == "numpy" and isinstance(value, self.np.generic):
            value = self.np.asarray(value)
        if self.framework == "numpy" and type(value) is not self.np.ndarray:
            raise TypeError(f"expected a numpy.ndarray, received {type(value).__name__}")
        if self.framework == "jax" and not isinstance(value, importlib.import_module("jax").Array):
            raise TypeError(f"expected a jax.Array, received {type(value).__name__}")
        value = self.np.ascontiguousarray(self.np.asarray(value)).reshape(self.np.shape(value))
        return str(value.dtype), list(value.shape), value.tobytes()

    def slopes(self, function, positional, named, xs, cotangent):
        """The gradients of ⟨cotangent, function⟩ by the arguments xs."""
        if self.framework == "torch":
            for x in xs:
                x.requires_grad_()
            try:
                value = function(*positional, **named)
                return self.library.autograd.grad(value, xs, cotangent, materialize_grads=True)
            finally:
                for x in xs:  # they are reused
                    x.requires_grad_(False)
        if self.framework == "jax":
            place = {id(x): i for i, x in enumerate(xs)}

            def moved(*values):
                def at(x):
                    return values[place[id(x)]] if id(x) in place else x

                return function(*map(at, positional), **{name: at(x) for name, x in named.items()})

            return importlib.import_module("jax").vjp(moved, *xs)[1](cotangent)
        raise TypeError("gradients need torch or jax: numpy has no derivatives")

    def poisoned(self, wanted):
        """From now on torch hands out memory full of NaN, so that what a function never wrote is seen; or not."""
        if self.framework == "torch":
            self.library.use_deterministic_algorithms(wanted, warn_only=True)  # which fills uninitialized memory


def call(function, arrays, header, blob):
    tensors, at = {}, 0
    for name, (dtype, shape, strided, size) in header["tensors"].items():
        tensors[name] = arrays.read(name, dtype, shape, strided, blob[at : at + size])
        at += size
    before = {name: arrays.write(x)[2] for name, x in tensors.items()}
    given = tensors | header["values"]
    positional = [given[name] for name in header["positional"]]
    named = {theirs: given[ours] for theirs, ours in header["named"].items()} | header["fixed"]
    arrays.poisoned(header["poisoned"])
    if header["slopes"]:
        result = arrays.slopes(function, positional, named, [given[n] for n in header["slopes"]], given["cotangent"])
    else:
        result = function(*positional, **named)
    several = list(result) if isinstance(result, (tuple, list)) else [result]
    written = [arrays.write(x) for x in several]
    changed = [name for name, x in tensors.items() if arrays.write(x)[2] != before[name]]
    return {"outputs": [w[:2] for w in written], "changed": changed}, b"".join(w[2] for w in written)


def theirs(error):
    """The traceback without the lines of this file and of the import system."""
    whole = traceback.extract_tb(error.__traceback__)
    frames = [f for f in whole if f.filename != __file__ and "importlib" not in f.filename]
    return "".join(traceback.format_list(frames) + traceback.format_exception_only(error) * bool(frames))


def main(target, framework):
    channel, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    sys.path[:] = [p for p in sys.path if p and str(Path(p).resolve()) != HERE]  # it must not find what judges it
    try:
        function = load(target)
        if framework == "auto":
            framework = next((f for f in ("torch", "jax") if f in sys.modules), "numpy")
        arrays = Arrays(framework)
    except BaseException as error:
        send(channel, {"unusable": f"{type(error).__name__}: {error}", "traceback": theirs(error)})
        return
    send(channel, {"framework": framework, "parameters": parameters(function)})
    while (message := receive(requests)) is not None:
        try:
            send(channel, *call(function, arrays, *message))
        except BaseException as error:
            send(channel, {"error": f"{type(error).__name__}: {error}", "traceback": theirs(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
