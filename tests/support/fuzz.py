"""Strategies for protobuf messages and JSON documents that are nearly right, made from their own descriptions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

_MAX_DEPTH = 5
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}


def scalar(field: FieldDescriptor, known: Sequence[int]) -> st.SearchStrategy[Any]:
    """Values for a field that is no message: mostly small or extreme ones, and `known` ids."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.one_of(st.integers(0, 5), st.sampled_from((99, -1)))
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats(width=32)
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.one_of(st.binary(max_size=3), st.binary(min_size=6, max_size=17))
        case FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(("", "x", "name\0", "é" * 300))
        case kind:
            low, high = _RANGES[kind]
            return st.one_of(
                st.integers(max(low, -1), 5),
                st.sampled_from([number for number in known if low <= number <= high] or [0]),
                st.sampled_from((low, high, high - 1)),
            )


def fill(draw: st.DrawFn, message: Message, known: Sequence[int], depth: int = _MAX_DEPTH) -> None:
    """Set some fields of a message to whatever they can hold."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    for field in draw(st.lists(st.sampled_from(fields), max_size=4)) if fields else ():
        set_field(draw, message, field, known, depth)


def set_field(draw: st.DrawFn, message: Message, field: FieldDescriptor, known: Sequence[int], depth: int) -> None:
    """Set one field to whatever it can hold; to a repeated one, add."""
    if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
        value = draw(scalar(field, known))
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    elif depth and not _is_map(field):
        child = getattr(message, field.name)
        if field.is_repeated:
            child = child.add()
        else:
            child.SetInParent()
        fill(draw, child, known, depth - 1)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


@st.composite
def mutated(draw: st.DrawFn, original: M, known: Sequence[int]) -> M:
    """A message with one to three changes somewhere inside it: a field set, cleared or doubled."""
    message = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, message, known)
    return message


def _change(draw: st.DrawFn, message: Message, known: Sequence[int]) -> None:
    children: list[Message] = []
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and not _is_map(field):
            children += value if field.is_repeated else [value]
    if children and draw(st.integers(0, 3)) > 0:
        _change(draw, children[draw(st.integers(0, len(children) - 1))], known)
        return
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    present = [field for field, _ in message.ListFields()]
    match draw(st.sampled_from(("set", "clear", "double"))):
        case "clear" if present:
            message.ClearField(draw(st.sampled_from(present)).name)
        case "double" if repeated := [field for field in present if field.is_repeated and not _is_map(field)]:
            values = getattr(message, draw(st.sampled_from(repeated)).name)
            values.extend([copy.deepcopy(draw(st.sampled_from(list(values))))])
        case _:
            set_field(draw, message, draw(st.sampled_from(fields)), known, 2)


@st.composite
def garbled(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes cut short, or with some replaced."""
    garbled = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        if garbled:
            garbled[draw(st.integers(0, len(garbled) - 1))] = draw(st.integers(0, 255))
    return bytes(garbled[: draw(st.integers(0, len(garbled)))] if draw(st.booleans()) else garbled)


_JSON_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, -1, 0, 1, 1 << 70, 1.5, "", "x", "0x", "0xzz", "scalars", [], {}, [[]], [{}])
)


@st.composite
def mutated_json(draw: st.DrawFn, original: Any) -> Any:
    """A JSON document with one or two values replaced, removed or doubled somewhere inside it."""
    document = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 2))):
        _change_json(draw, document)
    return document


def _change_json(draw: st.DrawFn, node: Any) -> None:
    if not node:
        return
    key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 5)):
        _change_json(draw, node[key])
        return
    match draw(st.sampled_from(("replace", "remove", "double"))):
        case "remove":
            del node[key]
        case "double" if isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        case _:
            node[key] = copy.deepcopy(draw(_JSON_VALUES))
