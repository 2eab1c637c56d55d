"""Messages from the wire as the data classes of `autorep.model`.

A data class has its message's fields under the same names; `metadata` of a field says where it does
not (`wire`), and what an empty text of an older coordinator stands for (`empty`).
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

T = TypeVar("T")


def decode(to: type[T], message: Message) -> T:
    """Read a message as a data class."""
    values = {}
    # Without the cast mypy 2.4 takes a type for nothing that can be hashed.
    for place, hint, wire in _fields(typing.cast("Any", to)):
        values[place.name] = _field(hint, message, wire, place.metadata.get("empty"))
    return to(**values)


@cache
def _fields(to: Any) -> tuple[tuple[dataclasses.Field[Any], Any, str], ...]:
    hints = typing.get_type_hints(to)
    places = dataclasses.fields(to)
    return tuple((it, hints[it.name], it.metadata.get("wire", it.name)) for it in places)


def _field(hint: Any, message: Message, wire: str, empty: str | None) -> Any:
    descriptor = message.DESCRIPTOR.fields_by_name[wire]
    value = getattr(message, wire)
    kind = descriptor.enum_type
    if typing.get_origin(hint) is tuple:
        (item, _ellipsis) = typing.get_args(hint)
        return tuple(_one(item, it, kind) for it in value)
    if isinstance(hint, types.UnionType):
        (item, _none) = typing.get_args(hint)
        known = message.HasField(wire) if descriptor.has_presence else value != ""
        return _one(item, value, kind) if known else None
    if value == "" and empty is not None:
        return empty
    return _one(hint, value, kind)


def _one(hint: Any, value: Any, enum_type: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _member(hint, value, enum_type)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return decode(hint, value)
    return value


def _member(to: type[enum.Enum], number: int, descriptor: EnumDescriptor) -> enum.Enum:
    """Find the member by its name on the wire, which begins with that of the enum."""
    value = descriptor.values_by_number.get(number)
    if value is None or number == 0:
        return to["UNKNOWN"]
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return to[value.name.removeprefix(prefix)]
