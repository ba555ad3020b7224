"""mypy checks our calls of the C library against .stubs/llama_cpp; here the stub is checked against the library."""

from __future__ import annotations

import ast
import ctypes
from pathlib import Path
from typing import Any

import pytest

from tests.test_layers import c_functions, inside, modules
from threadrunner.engine.llama.library import llama_cpp

STUB = Path(__file__).parents[3] / ".stubs" / "llama_cpp" / "llama_cpp.pyi"
TREE = ast.parse(STUB.read_text())
FUNCTIONS = [node for node in TREE.body if isinstance(node, ast.FunctionDef)]
CLASSES = {node.name: node for node in TREE.body if isinstance(node, ast.ClassDef)}
CALLBACKS = {name: node for name, node in CLASSES.items() if ast.unparse(node.bases[0]) == "_CFunctionType"}
STRUCTS = {name: node for name, node in CLASSES.items() if name not in CALLBACKS}

WHOLE_NUMBERS = {ctypes.c_int8, ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_size_t}
KINDS: dict[str, set[Any]] = {
    "int": WHOLE_NUMBERS,
    "float": {ctypes.c_float},
    "bool": {ctypes.c_bool},
    "bytes": {ctypes.c_char_p},
    "Array[c_char]": {ctypes.c_char_p},
    "Array[c_char_p]": {ctypes.POINTER(ctypes.c_char_p)},
    "Array[llama_logit_bias]": {ctypes.POINTER(llama_cpp.llama_logit_bias)},
    "Array[c_float]": {ctypes.POINTER(ctypes.c_float)},
    "Array[c_int32]": {ctypes.POINTER(ctypes.c_int32)},
    "Array[c_uint8]": {ctypes.POINTER(ctypes.c_uint8)},
    "c_void_p": {ctypes.c_void_p},
    "None": {None},
    "llama_sampler_p": {ctypes.POINTER(llama_cpp.llama_sampler)},
    "_CArgObject": {ctypes.POINTER(llama_cpp.llama_token_data_array)},
    **{
        f"_Pointer[{name}]": {ctypes.POINTER(made)}
        for name, made in {
            "c_int8": ctypes.c_int8,
            "c_int32": ctypes.c_int32,
            "c_float": ctypes.c_float,
            "c_void_p": ctypes.c_void_p,
            "_Pointer[c_int32]": ctypes.POINTER(ctypes.c_int32),
            "_Pointer[c_void_p]": ctypes.POINTER(ctypes.c_void_p),
            "llama_token_data": llama_cpp.llama_token_data,
        }.items()
    },
    **{name: {ctypes.c_void_p} for name in ("llama_model_p", "llama_context_p", "llama_vocab_p", "llama_memory_t")},
}
"""What the stub writes -> what ctypes may have for it."""


def assert_kind(written: ast.expr | None, installed: Any) -> None:
    assert written is not None
    text = ast.unparse(written).removesuffix(" | None")
    expected = KINDS.get(text) or {getattr(llama_cpp, text)}
    assert installed in expected, f"the stub says {text}, the library {installed}"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda node: node.name)
def test_a_function_takes_and_returns_what_the_stub_says(function: ast.FunctionDef) -> None:
    installed = getattr(llama_cpp, function.name)
    arguments = [*function.args.posonlyargs, *function.args.args]
    assert len(arguments) == len(installed.argtypes)
    for argument, kind in zip(arguments, installed.argtypes, strict=True):
        assert_kind(argument.annotation, kind)
    assert_kind(function.returns, installed.restype)


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_a_struct_has_the_fields_that_the_stub_says(name: str) -> None:
    fields = {field[0]: field[1] for field in getattr(llama_cpp, name)._fields_} if name != "llama_sampler" else {}
    for node in STRUCTS[name].body:
        if isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            assert_kind(node.annotation, fields[node.target.id])


@pytest.mark.parametrize("name", sorted(CALLBACKS))
def test_a_callback_gets_and_returns_what_the_stub_says(name: str) -> None:
    (new,) = (node for node in CALLBACKS[name].body if isinstance(node, ast.FunctionDef))
    signature = new.args.posonlyargs[1].annotation
    assert isinstance(signature, ast.Subscript)
    assert isinstance(signature.slice, ast.Tuple)
    arguments, returned = signature.slice.elts
    assert isinstance(arguments, ast.List)
    installed = getattr(llama_cpp, name)
    for argument, kind in zip(arguments.elts, installed._argtypes_, strict=True):
        if ast.unparse(argument) == "int | None":
            assert kind is ctypes.c_void_p
        else:
            assert_kind(argument, kind)
    assert_kind(returned, installed._restype_)


def test_the_stub_has_what_is_called_and_no_more() -> None:
    called = set().union(*(c_functions(file) for name, file in modules().items() if inside(name, "engine.llama")))
    used_in_the_stub = {node.id for node in ast.walk(TREE) if isinstance(node, ast.Name)}
    assert {function.name for function in FUNCTIONS} <= called
    assert set(CLASSES) <= called | used_in_the_stub
    assert len(FUNCTIONS) > 50
