"""DER and protobuf, as far as a sigstore signature needs them: strict readers over bytes that raise nothing but `Bad`.

Neither interprets anything. DER is read by hand because what is signed are the exact bytes of a part (the signed
attributes) under another tag, which decoders that build values do not give back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agentos_controller.source.signatures import verdict

INTEGER: Final = 0x02
OCTETS: Final = 0x04
OID: Final = 0x06
UTF8: Final = 0x0C
SEQUENCE: Final = 0x30
SET: Final = 0x31
ATTRIBUTES: Final = 0xA0
"""Context tag [0], constructed."""
UNSIGNED: Final = 0xA1
"""Context tag [1], constructed."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Value:
    """One element: its tag byte, its content, and all its bytes."""

    tag: int
    content: bytes
    raw: bytes

    def expect(self, tag: int) -> Value:
        if self.tag != tag:
            raise verdict.Bad("the signature's structure is not that of a signed message")
        return self

    def children(self) -> list[Value]:
        return list(elements(self.content))

    def only(self, tag: int) -> Value:
        """The single child, which has `tag`."""
        children = self.children()
        if len(children) != 1:
            raise verdict.Bad("the signature's structure is not that of a signed message")
        return children[0].expect(tag)


def elements(data: bytes) -> Iterator[Value]:
    """The elements that `data` is a row of: definite lengths in their shortest form, tags of one byte."""
    at = 0
    while at < len(data):
        start, tag = at, data[at]
        length, at = _length(data, at + 1)
        if tag & 0x1F == 0x1F or at + length > len(data):
            raise verdict.Bad("the signature is not well-formed DER")
        yield Value(tag, data[at : at + length], data[start : at + length])
        at += length


def _length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at] if at < len(data) else 0xFF
    if first < 0x80:
        return first, at + 1
    count = first & 0x7F
    octets = data[at + 1 : at + 1 + count]
    if not 1 <= count <= 4 or len(octets) != count or octets[0] == 0 or (count == 1 and octets[0] < 0x80):
        raise verdict.Bad("the signature is not well-formed DER")
    return int.from_bytes(octets, "big"), at + 1 + count


def one(data: bytes, tag: int) -> Value:
    """The one element that `data` is, with nothing behind it."""
    found = list(elements(data))
    if len(found) != 1:
        raise verdict.Bad("the signature is not well-formed DER")
    return found[0].expect(tag)


def message(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a protobuf message: number to values, varints as integers, everything else as bytes."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: int | bytes
        if key & 7 == _VARINT:
            value, at = _varint(data, at)
        else:
            count, at = _size(data, at, key & 7)
            value = data[at : at + count]
            if len(value) != count:
                raise verdict.Bad("the log entry is cut short")
            at += count
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _size(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(data, at)
    if kind in (_FIXED64, _FIXED32):
        return (8 if kind == _FIXED64 else 4), at
    raise verdict.Bad("the log entry is no protobuf message")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if at + index >= len(data):
            break
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise verdict.Bad("the log entry is no protobuf message")


def number(fields: dict[int, list[int | bytes]], field: int) -> int:
    """The varint that stands once at `field`, below 2^63."""
    match fields.get(field):
        case [int(value)] if value < 1 << 63:
            return value
    raise verdict.Bad("the log entry lacks a number")


def octets(fields: dict[int, list[int | bytes]], field: int) -> bytes:
    """The bytes that stand once at `field`."""
    match fields.get(field):
        case [bytes(value)]:
            return value
    raise verdict.Bad("the log entry lacks a field")
