"""The one recording format: exchanges with models and connectors, redacted, as a YAML file made to be read and diffed.

In mode ``record`` every real exchange is added, and the first one of a request in a session replaces what the file had
for it. In mode ``replay`` a request is answered from the file: equal requests in the order recorded, then with the
last. Whoever calls decides whether to ask at all (see `Cassette.replays`). Failed exchanges with models are not
recorded; answers of a connector are, whatever their status.

An exchange is ``{kind: connector, target: name.operation, request: {args}, response: {status, headers, body}}`` or
``{kind: model, target: name, request: {system, messages, tools, output}, response: {text, toolCalls, usage}}``.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml

from agentos_engine import artifacts, yamltext

Mode = Literal["record", "replay"]
VERSION = 1


class CassetteError(Exception):
    """The recording cannot be read, or has no answer."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, both plain JSON and redacted."""

    kind: str
    target: str
    request: Any
    response: Any

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.target, _canonical(self.request)


def _unchanged(text: str) -> str:
    return text


class Cassette:
    """Exchanges in memory, with a file behind them where there is one. Not shared between threads.

    `redact` is applied to every string on its way in, of requests asked for too, so that they still match.
    """

    def __init__(
        self,
        exchanges: Iterable[Exchange] = (),
        *,
        mode: Mode = "replay",
        path: Path | None = None,
        redact: Callable[[str], str] = _unchanged,
    ) -> None:
        self.mode = mode
        self._path = path
        self._redact = redact
        self._exchanges: dict[tuple[str, str, str], list[Exchange]] = {}
        for exchange in exchanges:
            self._exchanges.setdefault(exchange.key, []).append(exchange)
        self._fresh: set[tuple[str, str, str]] = set()
        self._asked: dict[tuple[str, str, str], int] = {}

    @classmethod
    def open(cls, path: Path, mode: Mode, redact: Callable[[str], str] = _unchanged) -> Cassette:
        """The recording in the file `path`; in mode ``record`` it may not exist yet. Raises `CassetteError`."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if mode == "replay":
                raise CassetteError(f"there is no recording {path}: record one first") from None
            data = b""
        return cls(parse(data, str(path)), mode=mode, path=path, redact=redact)

    @classmethod
    def of_text(cls, text: str, name: str) -> Cassette:
        """A recording to replay, from its text; `name` stands in errors."""
        return cls(parse(text.encode(), name))

    def session(self) -> Cassette:
        """A view of the same recording that answers from the beginning: one for each run."""
        view = Cassette(mode=self.mode, path=self._path, redact=self._redact)
        view._exchanges = self._exchanges
        view._fresh = self._fresh
        return view

    def record(self, kind: str, target: str, request: Any, response: Any) -> None:
        """Add an exchange and save the file."""
        exchange = Exchange(kind, target, self._clean(request), self._clean(response))
        if exchange.key not in self._fresh:
            self._fresh.add(exchange.key)
            self._exchanges[exchange.key] = []
        self._exchanges[exchange.key].append(exchange)
        if self._path is not None:
            self._take_over(self._path)
            save(self._path, self.exchanges())

    def _take_over(self, path: Path) -> None:
        """Keep what another recording into the same file has added since."""
        if path.exists():
            kept: dict[tuple[str, str, str], list[Exchange]] = {}
            for exchange in parse(path.read_bytes(), str(path)):
                if exchange.key not in self._fresh:
                    kept.setdefault(exchange.key, []).append(exchange)
            self._exchanges = {key: self._exchanges[key] for key in self._fresh} | kept

    def replay(self, kind: str, target: str, request: Any) -> Any:
        """The recorded response; `CassetteError` names the nearest recorded request if there is none."""
        key = (kind, target, _canonical(self._clean(request)))
        if not (recorded := self._exchanges.get(key)):
            raise CassetteError(self._miss(key))
        index = self._asked.get(key, 0)
        self._asked[key] = index + 1
        return recorded[min(index, len(recorded) - 1)].response

    def exchanges(self) -> list[Exchange]:
        """All exchanges in the order of the file: by kind, target and request, equal ones as recorded."""
        return [exchange for key in sorted(self._exchanges) for exchange in self._exchanges[key]]

    def _miss(self, key: tuple[str, str, str]) -> str:
        kind, target, request = key
        where = f"the recording {self._path}" if self._path else "the recording"
        same = [text for k, t, text in self._exchanges if (k, t) == (kind, target)]
        asked = f"{where} has no answer of {kind} {target} to {_short(request)}"
        if same:
            nearest = max(same, key=lambda text: difflib.SequenceMatcher(None, text[:2000], request[:2000]).ratio())
            return f"{asked}; the nearest recorded request is {_short(nearest, request)}"
        targets = sorted({f"{k} {t}" for k, t, _ in self._exchanges})
        near = difflib.get_close_matches(f"{kind} {target}", targets, 1, 0)
        return f"{asked}; " + (f"the nearest recorded target is {near[0]}" if near else "it is empty")

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, Mapping):
            return {self._redact(str(name)): self._clean(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._clean(item) for item in value]
        return value


def _canonical(value: Any) -> str:
    return artifacts.canonical(_numbers(value)).decode()


def _numbers(value: Any) -> Any:
    """JSON does not tell 1.0 from 1, and neither may a recording."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def _short(text: str, other: str = "") -> str:
    """At most 300 characters of `text`, from shortly before it begins to differ from `other`."""
    pairs = zip(text, other, strict=False)
    same = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(text), len(other)))
    start = max(0, same - 100) if len(text) > 300 else 0
    return ("…" if start else "") + text[start : start + 300] + ("…" if len(text) > start + 300 else "")


def parse(data: bytes, name: str) -> list[Exchange]:
    """The exchanges of a recording's text; `CassetteError` says what is wrong and where."""
    text = yamltext.parse(data)
    problems = [*text.problems, *(problem for document in text.documents for problem in document.problems)]
    if problems:
        first = problems[0]
        raise CassetteError(f"{name}:{first.position.line}:{first.position.column}: {first.message}")
    if not text.documents or text.documents[0].data is None:
        return []
    body = text.documents[0].data
    if not isinstance(body, dict) or body.get("version") != VERSION or not isinstance(body.get("exchanges"), list):
        raise CassetteError(f"{name}: a recording is `version: {VERSION}` and a list of `exchanges`")
    exchanges = []
    for number, item in enumerate(body["exchanges"], 1):
        if not isinstance(item, dict) or {"kind", "target", "request", "response"} - item.keys():
            raise CassetteError(f"{name}: exchange {number} needs kind, target, request and response")
        exchanges.append(Exchange(str(item["kind"]), str(item["target"]), item["request"], item["response"]))
    return exchanges


def dump(exchanges: Iterable[Exchange]) -> str:
    """The text of a recording. The same exchanges give the same text, on every machine."""
    items = [
        {"kind": item.kind, "target": item.target, "request": _sorted(item.request), "response": _sorted(item.response)}
        for item in exchanges
    ]
    body = {"version": VERSION, "exchanges": items}
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def save(path: Path, exchanges: Iterable[Exchange]) -> None:
    """Replace the file as a whole: a reader sees the old recording or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(dump(exchanges))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _sorted(value: Any) -> Any:
    return orjson.loads(artifacts.canonical(_numbers(value)))


class _Dumper(yaml.CSafeDumper):
    """Quotes whatever two YAML versions could read differently."""


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*").fullmatch
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"})


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style: str | None = '"'
    if _PLAIN(text) and text.lower() not in _WORDS:
        style = None
    elif "\n" in text and _BLOCK(text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BLOCK = re.compile(r"(?!\s)[^\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\u2028\u2029]*(?<!\s)\n?").fullmatch
_Dumper.add_representer(str, _string)
