"""The process in which somebody's function runs: it gets inputs and gives outputs, as bytes, and holds no answer.

Run as a script, `candidate.py MODULE_OR_FILE:FUNCTION FRAMEWORK DEVICE BACKWARD`. A message is its length in eight
bytes, one line of JSON, and the bytes of the tensors that the line describes. What the function prints goes to standard
error.
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import struct
import sys
import traceback
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
ROOT = Path(HERE).parent
WINGS = ("reference", "verify", "derivations", "bench")


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


class Complaint(Exception):
    """Something is wrong with what the function gave, though it raised nothing."""


class NoAnswers:
    """Refuses the import of this repository's own wings: what is judged must not find what judges it."""

    def find_spec(self, name, path=None, target=None):
        if name in WINGS:
            found = importlib.machinery.PathFinder.find_spec(name, path)
            if found is not None and found.origin and Path(found.origin).resolve().is_relative_to(ROOT):
                raise ImportError(f"{name} is not to be had here: a function is not checked against itself")
        return None


def ours(target):
    """Is the function one of this repository's own, such as a kernel? That one may import its wing."""
    where = target.rpartition(":")[0]
    named = where.partition(".")[0] in WINGS and not where.endswith(".py")
    return named or any(Path(where).resolve().is_relative_to(ROOT / wing) for wing in WINGS)


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
    """[[name, may be passed by name, has a default], …], or None where a builtin, or *args, does not tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in found):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [[p.name, p.kind in named, p.default is not inspect.Parameter.empty] for p in found
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip


def defaults(function):
    """{name: default} of those that are numbers, truths, strings or None."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in found if p.default is None or type(p.default) in (bool, int, float, str)}


def framework_of(function):
    """torch, unless it is not loaded or the function, and what it calls in its module, speaks of jax alone."""
    spoken: set = set()
    read: set = set()
    unread = [function]
    while unread:
        body = unread.pop()
        body = inspect.unwrap(body.func if isinstance(body, functools.partial) else body)
        body = body if inspect.isroutine(body) else type(body).__call__
        code = getattr(body, "__code__", None)
        names = {line.argval for line in dis.get_instructions(code) if line.opname == "LOAD_GLOBAL"} if code else set()
        for name in names - read:
            used = getattr(body, "__globals__", {}).get(name)
            home = getattr(used, "__module__", None) or getattr(used, "__name__", "")
            spoken.add(str(home).partition(".")[0])
            unread += [used] if callable(used) and home == getattr(body, "__module__", "") else []
        read |= names
    if "jax" in sys.modules and "jax" in spoken and "torch" not in spoken:
        return "jax"
    return next((f for f in ("torch", "jax") if f in sys.modules), "numpy")


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


def gathered(flat):
    """Inputs named "x[0]", "x[1]", … are the list x."""
    whole: dict = {}
    for name, x in flat.items():
        if name.endswith("]"):
            whole.setdefault(name.partition("[")[0], []).append(x)
        else:
            whole[name] = x
    return whole


class Kept:
    """The last results, which a function may keep no hand on: they must not change when it is called again."""

    def __init__(self):
        self.results, self.bytes = [], []

    def changed(self, arrays):
        return [arrays.write(x)[2] for x in self.results] != self.bytes

    def keep(self, results, written, inputs, arrays):
        """All but what is an input itself, which is ours to write into."""
        taken = {arrays.place(x) for x in inputs}
        own = [
            (x, w[2])
            for x, w in zip(results, written, strict=True)
            if len(w[2]) < 1 << 20 and arrays.place(x) not in taken
        ]
        self.results, self.bytes = [x for x, _ in own], [data for _, data in own]


def call(function, backward, arrays, kept, header, blob):
    tensors, at = {}, 0
    arrays.widened("float64" in [dtype for dtype, *_ in header["tensors"].values()])
    for name, (dtype, shape, strided, size) in header["tensors"].items():
        tensors[name] = arrays.read(name, dtype, shape, strided, blob[at : at + size])
        at += size
    before = {name: arrays.write(x)[2] for name, x in tensors.items()}
    given = gathered(tensors) | header["values"]
    positional = [given[name] for name in header["positional"]]
    named = {theirs: given[ours] for theirs, ours in header["named"].items()} | header["fixed"]
    for name, shape in zip(header["buffers"], header["shapes"], strict=False):
        if name not in named:
            named[name] = arrays.empty(*shape)
    arrays.poisoned(header["poisoned"])
    if header["slopes"] and backward is not None:
        result = backward(given["cotangent"], *positional, **named)
    elif header["slopes"]:
        result = arrays.slopes(function, positional, named, [given[n] for n in header["slopes"]], given["cotangent"])
    else:
        result = function(*positional, **named)
    if header["buffers"]:
        result = [named[name] for name in header["buffers"]]
    elif result is None:
        raise Complaint("expected arrays, received None: if results are written into arguments, name these by --out")
    several = list(result) if isinstance(result, (tuple, list)) else [result]
    written = [arrays.write(x) for x in several]
    if kept.changed(arrays):
        raise Complaint("the call before returned an array into which this call writes")
    if not header["buffers"]:
        kept.keep(several, written, tensors.values(), arrays)
    into = {header["named"].get(name) for name in header["buffers"]}
    changed = [name for name, x in tensors.items() if name not in into and arrays.write(x)[2] != before[name]]
    return {"outputs": [w[:2] for w in written], "changed": changed}, b"".join(w[2] for w in written)


def theirs(error):
    """The traceback without the lines of this file and of the import system."""
    whole = traceback.extract_tb(error.__traceback__)
    frames = [f for f in whole if f.filename != __file__ and "importlib" not in f.filename]
    return "".join(traceback.format_list(frames) + traceback.format_exception_only(error) * bool(frames))


def main(target, framework, device, behind):
    channel, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    sys.path[:] = [p for p in sys.path if p and str(Path(p).resolve()) != HERE]  # it must not find what judges it
    if not ours(target):
        sys.meta_path.insert(0, NoAnswers())
    try:
        function = load(target)
        backward = load(target.rpartition(":")[0] + ":" + behind) if behind else None
        if framework == "auto":
            framework = framework_of(function)
        arrays = Arrays(framework, device)
    except BaseException as error:
        send(channel, {"unusable": f"{type(error).__name__}: {error}", "traceback": theirs(error)})
        return
    send(channel, {"framework": framework, "parameters": parameters(function), "defaults": defaults(function)})
    kept = Kept()
    while (message := receive(requests)) is not None:
        try:
            send(channel, *call(function, backward, arrays, kept, *message))
        except Complaint as error:
            send(channel, {"error": str(error), "raised": False, "traceback": ""})
        except BaseException as error:
            send(channel, {"error": f"{type(error).__name__}: {error}", "raised": True, "traceback": theirs(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
