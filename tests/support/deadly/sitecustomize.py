"""A process that finds this folder first on its path comes to a bad end over manifests that say so.

It stands for what no manifest should be able to do and a bug in a parser, a library or a compiler can: crash the
process, keep it for ever, take all its memory. `deadly/read: how` anywhere in a file strikes when it is read, the label
`deadly: how` when the resource is compiled; `how` is one of crash, hang, memory.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import Any

from agentos_engine import compile as compiling
from agentos_engine import load


def _die(how: str) -> None:
    if how == "crash":
        ctypes.string_at(0)
    taken = []
    while True:
        if how == "memory":
            taken.append(bytearray(1 << 33))


def _reading(original: Callable[[bytes], load.File]) -> Callable[[bytes], load.File]:
    def read(data: bytes) -> load.File:
        if found := re.search(rb"deadly/read: (\w+)", data):
            _die(found[1].decode())
        return original(data)

    return read


def _compiling(original: Callable[..., Any]) -> Callable[..., Any]:
    def compile_(manifest: Any, *arguments: Any) -> Any:
        if (how := manifest.labels.get("deadly")) is not None:
            _die(how)
        return original(manifest, *arguments)

    return compile_


load.load = _reading(load.load)
compiling.compile = _compiling(compiling.compile)
