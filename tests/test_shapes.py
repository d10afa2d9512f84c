"""Every shape written in a signature is true while the function runs: all sizes distinct, checked by jaxtyping."""

import inspect
import types
import typing
from importlib import import_module

import jaxtyping
import pytest
import torch
from beartype import beartype

from verify.boundaries import computed
from verify.suite import examples

OPERATIONS = [o for topic in computed() for o in import_module(f"verify.{topic}").OPERATIONS]
NAMES = vars(jaxtyping) | {"Tensor": torch.Tensor}


def checked(f):
    """A copy of f whose annotations, which at run time are only text, are read and enforced."""
    copy = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    copy.__kwdefaults__ = f.__kwdefaults__
    copy.__annotations__ = typing.get_type_hints(f, globalns=vars(import_module(f.__module__)) | NAMES)
    return jaxtyping.jaxtyped(typechecker=beartype)(copy)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.name)
def test_declared_shapes_are_true(operation):
    topic, _, name = operation.name.partition(".")
    f = getattr(import_module(f"reference.{topic}"), name)
    assert inspect.signature(f).return_annotation is not inspect.Signature.empty
    enforced = checked(f)
    for inputs in examples(operation, 10):
        enforced(**inputs)


def test_a_false_shape_is_seen():
    def transposed(x: 'Float[Tensor, "T K"]') -> 'Float[Tensor, "K T"]':
        return x

    transposed.__module__ = "reference.rope"
    with pytest.raises(jaxtyping.TypeCheckError):
        checked(transposed)(torch.zeros(2, 3))
