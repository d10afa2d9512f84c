r"""A machine that runs a program over shapes in place of numbers, and notes every byte that is taken and given back.

Tensors are storages seen through shapes and strides, so that what is a view and what is a copy is decided as PyTorch
decides it. A storage gives its bytes back when the last reference to it goes, as in CPython: the lifetimes of a program
for this machine are those of the same text in PyTorch. Derivatives are nodes of a graph that `backward` walks in the
order of the autograd engine. Sizes are integers, or numbers that carry their polynomial (derivations.polynomial).

What the operations save and allocate is the business of the rule tables: derivations.eager and those built on it.
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from itertools import count
from math import prod
from typing import Any

from derivations.strides import contiguous

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "bool": 1, "uint8": 1}
ONE_REFERENCE = 2  # what sys.getrefcount says of an object that one attribute holds: itself and its argument


class Storage:
    """Bytes that live as long as this object."""

    __slots__ = ("bytes", "key", "machine")

    def __init__(self, machine: Machine, size: Any, what: str):
        self.machine, self.bytes = machine, size
        self.key = machine.take(size, what)

    def __del__(self):
        self.machine.give(self.key, self.bytes)


class Tensor:
    """A storage (None: it lives outside the program, as weights do) seen through shape and strides."""

    __slots__ = ("dtype", "index", "node", "shape", "storage", "strides", "view", "weight")

    def __init__(self, storage, shape, dtype, strides=None, node=None, index=0, view=False, weight=None):
        self.storage, self.shape, self.dtype, self.node, self.index = storage, tuple(shape), dtype, node, index
        self.strides = contiguous(shape) if strides is None else tuple(strides)
        self.view, self.weight = view, weight

    @property
    def entries(self):
        return prod(self.shape)

    @property
    def edge(self):
        """Where its gradient goes: a weight's name, a node and the number of its output, or nowhere."""
        return self.weight or (self.node and (self.node, self.index))


class Node:
    """One step of the graph: what it keeps, where its gradients go, and how it makes them of those it is given."""

    __slots__ = ("backward", "edges", "late", "machine", "name", "order", "outputs", "saved", "where")

    def __init__(self, machine, order, name, edges, saved, backward, outputs, late):
        self.machine, self.order, self.name, self.edges, self.saved = machine, order, name, edges, saved
        self.backward, self.outputs, self.late, self.where = backward, outputs, late, machine.where

    def of(self, *results):
        """Make the results its outputs; without an order the node is no part of the graph, and they have none."""
        for index, result in enumerate(results):
            result.node, result.index = (None if self.order is None else self), index
            if self.machine.traffic and not result.view:
                self.machine.moved += self.machine.reads + result.entries * BYTES[result.dtype]
        return results if len(results) > 1 else results[0]


class Machine:
    """Memory and graph.

    `events` holds (key, bytes, what, where): bytes > 0 taken, bytes < 0 given back, and marks without a key; `kept`
    the keys of the weights' gradients. `work`
    holds (where, what, FLOPs, recomputed) of every matrix product, and `moved` adds up bytes: every operation reads
    its operands and writes its result once, if `traffic` is wanted. `graph` is off where no gradients are wanted.
    """

    traffic = True

    def __init__(self):
        self.events: list[tuple[Any, Any, str, str]] = []
        self.keys, self.orders = count(), count()
        self.where, self.engine = "", False
        self.gradients: dict[str, Tensor] = {}
        self.graph, self.moved, self.reads = True, 0, 0
        self.work: list[tuple[str, str, Any, str]] = []
        self.kept: set[int] = set()
        self.past: Any = None
        self.state: Any = None

    @property
    def phase(self):
        return "backward" if self.engine else "forward"

    def count(self, what, flops):
        """A matrix product, in the phase it runs in."""
        self.work.append((self.where, what, flops, self.phase))

    def take(self, size, what):
        key = next(self.keys)
        self.events.append((key, size, what, self.where))
        return key

    def give(self, key, size):
        self.events.append((key, -size, "", self.where))

    def mark(self, phase):
        """A place in the events that can be found again: what follows belongs to `phase`."""
        self.events.append((None, 0, phase, self.where))

    def scratch(self, *sizes):
        """Bytes that an operation takes one after the other, and gives back in the opposite order."""
        taken = [(self.take(size, "scratch"), size) for size in sizes]
        for key, size in reversed(taken):
            self.give(key, size)

    def new(self, shape, dtype, what, strides=None, view=False):
        """A fresh tensor."""
        return Tensor(Storage(self, prod(shape) * BYTES[dtype], what), shape, dtype, strides, view=view)

    def weight(self, name, shape, dtype="float32"):
        return Tensor(None, shape, dtype, weight=name)

    def buffer(self, shape, dtype):
        """A tensor of the model that no gradient goes to."""
        return Tensor(None, shape, dtype)

    # the graph

    def node(self, name, inputs, saved, backward, late=None, outputs=1):
        """A step of the graph from `inputs` (None: no gradient goes there), keeping the tensors `saved`.

        `backward` makes the inputs' gradients of a list of those of the outputs, `late` fits them to the inputs. A
        node that keeps inputs is made before the result takes memory, one that keeps the result after.
        """
        edges = [x.edge for x in inputs]
        self.reads = sum(x.entries * BYTES[x.dtype] for x in inputs) if self.traffic else 0
        if not self.graph or not any(edges):
            return Node(self, None, name, [], [], None, outputs, None)
        return Node(self, next(self.orders), name, edges, self.pack(saved), backward, outputs, late)

    def pack(self, saved):
        """What a node holds on to: the storages."""
        return [x.storage for x in saved]

    def unpack(self, held):
        """The storage of what `pack` gave."""
        return held

    # the engine

    def backward(self, loss: Tensor) -> None:
        """Walk the graph from the loss: the newest ready node first, weights' gradients are held in `gradients`."""
        root, loss.node, self.engine = loss.node, None, True
        waiting, weights = self._count(root)
        buffers: dict[int, list] = {id(root): [self.new(loss.shape, loss.dtype, "gradient of the loss")]}
        seed = buffers[id(root)][0]
        held: dict[str, Tensor] = {}
        ready, root = [(-root.order, root)], None
        while ready:
            node = heapq.heappop(ready)[1]
            self.where = f"{node.name} backward, {node.where}"
            complete: dict[str, Tensor] = {}
            out = self._gradients(node, buffers.pop(id(node)))
            for i, edge in enumerate(node.edges):
                gradient, out[i] = out[i], None
                if edge is None or gradient is None:
                    continue
                if isinstance(edge, str):
                    old = held.pop(edge, None)
                    gradient = gradient if old is None else self._sum(old, gradient)
                    old = None
                    weights[edge] -= 1
                    (held if weights[edge] else complete).update({edge: gradient})
                else:
                    target, index = edge
                    buffer = buffers.setdefault(id(target), [None] * target.outputs)
                    old, buffer[index] = buffer[index], None
                    buffer[index] = gradient if old is None else self._sum(old, gradient)
                    old = None
                    waiting[id(target)] -= 1
                    if not waiting[id(target)]:
                        heapq.heappush(ready, (-target.order, target))
                    del target, buffer
                gradient = None
            for weight, gradient in complete.items():
                if weight not in self.gradients:  # else it is added there, in place
                    self.gradients[weight] = gradient
                    self.kept.add(gradient.storage.key)
            node.edges = []
            complete.clear()
            del node, edge, gradient
        self.engine = False
        del seed

    def _gradients(self, node, given):
        """What the node makes of the gradients it is given; then it lets go of them and of what it kept."""
        kept = [self.unpack(held) for held in node.saved]
        out = node.backward(given)
        if self.traffic and self.moves(node):
            self.moved += sum(x.entries * BYTES[x.dtype] for x in (*given, *out) if x is not None)
            self.moved += sum(x.bytes for x in kept if x is not None)
        kept.clear()
        if node.late:
            node.late(out)
        for held in (given, node.saved):  # the first one first, as in a vector of C++
            while held:
                held.pop(0)
        node.backward = node.late = None
        return out

    def moves(self, node):
        """Does the backward pass of a node touch memory? That of a view does not."""
        return node.name not in ("View", "UnsafeView", "Transpose", "T")

    def _count(self, root):
        """How many gradients each node, and each weight, waits for."""
        waiting, weights, seen, stack = Counter[int](), Counter[str](), {id(root)}, [root]
        while stack:
            for edge in stack.pop().edges:
                if isinstance(edge, str):
                    weights[edge] += 1
                elif edge is not None:
                    waiting[id(edge[0])] += 1
                    if id(edge[0]) not in seen:
                        seen.add(id(edge[0]))
                        stack.append(edge[0])
        return waiting, weights

    def _sum(self, old: Tensor, new: Tensor) -> Tensor:
        """Two gradients of one tensor: into the older, if nothing else sees its memory; else a third."""
        alone = sys.getrefcount(old.storage) == ONE_REFERENCE
        if not old.view and alone:
            return old
        return self.new(new.shape, new.dtype, "sum of gradients", new.strides)
