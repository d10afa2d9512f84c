"""The process in which somebody's function runs: it gets inputs and gives outputs, as bytes, and holds no answer.

Run as a script, `candidate.py MODULE_OR_FILE:FUNCTION FRAMEWORK DEVICE BACKWARD`. A message is its length in eight
bytes, one line of JSON, and the bytes of the tensors that the line describes. What the function prints goes to standard
error.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import os
import struct
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # until `forget`

from verify import arrays, signature
from verify.arrays import Arrays, Complaint

ROOT = Path(__file__).resolve().parent.parent
OWN = {__file__, arrays.__file__, signature.__file__}
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

    def keep(self, pairs, inputs, arrays):
        """All results, each with what was written of it, but for an input itself, which is ours to write into."""
        taken = {arrays.place(x) for x in inputs}
        own = [(x, w[2]) for x, w in pairs if len(w[2]) < 1 << 20 and arrays.place(x) not in taken]
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
    number = {place for place in header["numbers"] if place < len(several) and type(several[place]) is float}
    written = [("float64", [], struct.pack("<d", x)) if i in number else arrays.write(x) for i, x in enumerate(several)]
    if kept.changed(arrays):
        raise Complaint("the call before returned an array into which this call writes")
    if not header["buffers"]:
        pairs = [(x, w) for i, (x, w) in enumerate(zip(several, written, strict=True)) if i not in number]
        kept.keep(pairs, tensors.values(), arrays)
    into = {header["named"].get(name) for name in header["buffers"]}
    changed = [name for name, x in tensors.items() if name not in into and arrays.write(x)[2] != before[name]]
    return {"outputs": [w[:2] for w in written], "changed": changed}, b"".join(w[2] for w in written)


def forget():
    """The function must not find what judges it: no wing is on the path, and none is loaded."""
    here = ROOT / "verify"
    sys.path[:] = [p for p in sys.path[1:] if p and Path(p).resolve() != here]
    for name in [name for name in sys.modules if name.partition(".")[0] in WINGS]:
        del sys.modules[name]


def theirs(error):
    """The traceback without the lines of these files and of the import system."""
    whole = traceback.extract_tb(error.__traceback__)
    frames = [f for f in whole if f.filename not in OWN and "importlib" not in f.filename]
    return "".join(traceback.format_list(frames) + traceback.format_exception_only(error) * bool(frames))


def main(target, framework, device, behind):
    channel, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    forget()
    if ours(target):
        sys.path.insert(0, str(ROOT))  # a file of a wing, named by its path, imports the wing
    else:
        sys.meta_path.insert(0, NoAnswers())
    try:
        function = load(target)
        backward = load(target.rpartition(":")[0] + ":" + behind) if behind else None
        if framework == "auto":
            framework = signature.framework_of(function)
        tensors = Arrays(framework, device)
    except BaseException as error:
        send(channel, {"unusable": f"{type(error).__name__}: {error}", "traceback": theirs(error)})
        return
    known = {"parameters": signature.parameters(function), "defaults": signature.defaults(function)}
    send(channel, {"framework": framework, **known})
    kept = Kept()
    while (message := receive(requests)) is not None:
        try:
            send(channel, *call(function, backward, tensors, kept, *message))
        except Complaint as error:
            send(channel, {"error": str(error), "raised": False, "traceback": ""})
        except BaseException as error:
            send(channel, {"error": f"{type(error).__name__}: {error}", "raised": True, "traceback": theirs(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
