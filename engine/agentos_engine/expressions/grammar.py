"""CEL text to a tree that knows where everything stands.

Why not the evaluator's own parser: it expands macros and keeps one offset per node, while messages and inserted
conversions need the exact extent of every operand, parentheses included. What is accepted here is a subset of CEL
(message literals are left out); the evaluator still compiles every text, so this parser cannot let anything through.

Offsets are in characters of the source. A node's extent includes the parentheses around it.
"""

from __future__ import annotations

import functools
import re
from typing import Any

MAX_SOURCE = 8 * 1024
MAX_NODES = 1000
MAX_DEPTH = 48

_SHORT_SOURCE = 200
"""Characters up to which a source's tree is remembered: the same few expressions stand in very many manifests."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|[0-9]+(?=[eE])|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[uU]?)
    |(?P<text>(?:[rR][bB]?|[bB][rR])(?:\"\"\".*?\"\"\"|\'\'\'.*?\'\'\'|"[^"\n\r]*"|'[^'\n\r]*')
        |[bB]?(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\\n\r]|\\.)*"|'(?:[^'\\\n\r]|\\.)*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<mark>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)  # fmt: skip # noqa: E501
_SHORT = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
    "namespace", "return", "var", "void", "while",
})  # fmt: skip
_PRECEDENCE = {
    "||": 1, "&&": 2, "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3, "+": 4, "-": 4, "*": 5, "/": 5,
    "%": 5,
}  # fmt: skip


_CHAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z_][A-Za-z0-9_]*+){0,12}+").fullmatch
_WORDS = RESERVED | {"in", "true", "false", "null"}


class Refused(Exception):
    """The source is not an expression: `code` ExpressionSyntax or ExpressionTooComplex, where, and how to mend it."""

    def __init__(self, message: str, offset: int, length: int = 1, code: str = "ExpressionSyntax") -> None:
        super().__init__(message)
        self.message, self.offset, self.length, self.code = message, offset, length, code


class Node:
    """A piece of the source between `start` and `end`."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


class Constant(Node):
    """A literal. `kind` is null, bool, int, uint, double, string or bytes."""

    __slots__ = ("kind", "value")

    def __init__(self, start: int, end: int, kind: str, value: Any) -> None:
        self.start, self.end, self.kind, self.value = start, end, kind, value


class Name(Node):
    """A root or a local variable."""

    __slots__ = ("name",)

    def __init__(self, start: int, end: int, name: str) -> None:
        self.start, self.end, self.name = start, end, name


class Select(Node):
    """``of.field``, or ``of.?field`` when `optional`."""

    __slots__ = ("field", "field_at", "of", "optional")

    def __init__(self, start: int, end: int, of: Node, field: str, field_at: int, optional: bool) -> None:
        self.start, self.end, self.of, self.field, self.field_at = start, end, of, field, field_at
        self.optional = optional


class Index(Node):
    """``of[key]``, or ``of[?key]`` when `optional`."""

    __slots__ = ("key", "of", "optional")

    def __init__(self, start: int, end: int, of: Node, key: Node, optional: bool) -> None:
        self.start, self.end, self.of, self.key, self.optional = start, end, of, key, optional


class Call(Node):
    """``name(args)`` or ``of.name(args)``; `name_at` is where the name stands, `close` the end without parentheses."""

    __slots__ = ("args", "close", "name", "name_at", "of")

    def __init__(self, start: int, end: int, of: Node | None, name: str, name_at: int, args: list[Node]) -> None:
        self.start, self.end, self.of, self.name, self.name_at, self.args = start, end, of, name, name_at, args
        self.close = end


class Unary(Node):
    """``!of`` or ``-of``."""

    __slots__ = ("of", "sign")

    def __init__(self, start: int, end: int, sign: str, of: Node) -> None:
        self.start, self.end, self.sign, self.of = start, end, sign, of


class Binary(Node):
    """A comparison, `in`, or arithmetic; `sign_at` is where the operator stands."""

    __slots__ = ("left", "right", "sign", "sign_at")

    def __init__(self, sign: str, sign_at: int, left: Node, right: Node) -> None:
        self.start, self.end = left.start, right.end
        self.sign, self.sign_at, self.left, self.right = sign, sign_at, left, right


class Logic(Node):
    """A chain of ``&&`` or of ``||``: flat, because authors write long ones."""

    __slots__ = ("parts", "sign")

    def __init__(self, sign: str, parts: list[Node]) -> None:
        self.start, self.end, self.sign, self.parts = parts[0].start, parts[-1].end, sign, parts


class Choice(Node):
    """``test ? yes : no``."""

    __slots__ = ("no", "test", "yes")

    def __init__(self, test: Node, yes: Node, no: Node) -> None:
        self.start, self.end, self.test, self.yes, self.no = test.start, no.end, test, yes, no


class Sequence(Node):
    """A list literal; the elements marked optional are left out when empty."""

    __slots__ = ("items",)

    def __init__(self, start: int, end: int, items: list[tuple[Node, bool]]) -> None:
        self.start, self.end, self.items = start, end, items


class Mapping(Node):
    """A map literal of (key, value, optional)."""

    __slots__ = ("entries",)

    def __init__(self, start: int, end: int, entries: list[tuple[Node, Node, bool]]) -> None:
        self.start, self.end, self.entries = start, end, entries


def children(node: Node) -> list[Node]:
    """The nodes directly below `node`."""
    if isinstance(node, (Select, Unary)):
        return [node.of]
    if isinstance(node, Index):
        return [node.of, node.key]
    if isinstance(node, Binary):
        return [node.left, node.right]
    if isinstance(node, Logic):
        return node.parts
    if isinstance(node, Choice):
        return [node.test, node.yes, node.no]
    if isinstance(node, Sequence):
        return [item for item, _ in node.items]
    if isinstance(node, Mapping):
        return [part for key, item, _ in node.entries for part in (key, item)]
    if isinstance(node, Call):
        return node.args if node.of is None else [node.of, *node.args]
    return []


_Token = tuple[str, str, int, int]


def tokens(source: str) -> list[_Token]:
    """(kind, text, start, end) of every token but space, closed by an ``end``; raises `Refused`."""
    found: list[_Token] = []
    at, length, match = 0, len(source), _TOKEN.match
    while at < length:
        hit = match(source, at)
        if hit is None:
            raise Refused(f"{source[at]!r} has no meaning here", at)
        kind, end = hit.lastgroup or "", hit.end()
        if kind != "space":
            text = hit.group()
            found.append((text if kind == "mark" else kind, text, at, end))
        at = end
    found.append(("end", "", length, length))
    return found


def parse(source: str) -> Node:
    """The tree of `source`, not to be changed; raises `Refused`. Bounded: 8 KiB, 1,000 nodes, 48 levels."""
    return _remembered(source) if len(source) <= _SHORT_SOURCE else _parse(source)


def _parse(source: str) -> Node:
    if len(source) > MAX_SOURCE or (not source.isascii() and len(source.encode("utf-8", "replace")) > MAX_SOURCE):
        raise Refused(f"longer than {MAX_SOURCE // 1024} KiB", 0, len(source), "ExpressionTooComplex")
    if (path := fields(source)) is not None:
        return _chain(path)
    parser = _Parser(tokens(source))
    node = parser.choice()
    kind, text, start, end = parser.tokens[parser.at]
    if kind != "end":
        raise Refused(f"unexpected {text!r}", start, end - start)
    return node


_remembered = functools.lru_cache(2048)(_parse)


def fields(source: str) -> tuple[str, ...] | None:
    """The names of ``input.order.id``, None for what is no plain chain of fields: most expressions are no more."""
    if _CHAIN(source) is None:
        return None
    names = tuple(source.split("."))
    return names if _WORDS.isdisjoint(names) else None


def _chain(path: tuple[str, ...]) -> Node:
    """The tree of a plain chain, without tokens."""
    end = len(path[0])
    node: Node = Name(0, end, path[0])
    for name in path[1:]:
        at, end = end + 1, end + 1 + len(name)
        node = Select(0, end, node, name, at, False)
    return node


class _Parser:
    __slots__ = ("at", "depth", "nodes", "tokens")

    def __init__(self, found: list[_Token]) -> None:
        self.tokens, self.at, self.depth, self.nodes = found, 0, 0, 0

    def _enter(self) -> None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise Refused("nested too deeply", self.tokens[self.at][2], 1, "ExpressionTooComplex")
        if self.nodes > MAX_NODES:
            raise Refused(f"more than {MAX_NODES} terms", self.tokens[self.at][2], 1, "ExpressionTooComplex")

    def _take(self, kind: str) -> _Token:
        token = self.tokens[self.at]
        if token[0] != kind:
            wanted = {"name": "a name"}.get(kind, repr(kind))
            got = repr(token[1]) if token[0] != "end" else "the end"
            raise Refused(f"{wanted} is missing before {got}", token[2], max(1, token[3] - token[2]))
        self.at += 1
        return token

    def _skip(self, kind: str) -> bool:
        if self.tokens[self.at][0] == kind:
            self.at += 1
            return True
        return False

    def choice(self) -> Node:
        self._enter()
        test = self.binary(1)
        if self._skip("?"):
            yes = self.binary(1)
            self._take(":")
            test = Choice(test, yes, self.choice())
        self.depth -= 1
        return test

    def binary(self, least: int) -> Node:
        left = self.unary()
        while True:
            _, sign, at, _ = self.tokens[self.at]
            strength = _PRECEDENCE.get(sign, 0)
            if strength < least or self.tokens[self.at][0] == "text":
                return left
            self.at += 1
            self.nodes += 1
            right = self.binary(strength + 1)
            if strength > 2:
                left = Binary(sign, at, left, right)
            elif isinstance(left, Logic) and left.sign == sign and left.start == left.parts[0].start:
                left.parts.append(right)
                left.end = right.end
            else:
                left = Logic(sign, [left, right])

    def unary(self) -> Node:
        kind, sign, start, _ = self.tokens[self.at]
        if kind not in ("!", "-"):
            return self.member()
        self._enter()
        self.at += 1
        of = self.unary()
        self.depth -= 1
        return Unary(start, of.end, sign, of)

    def member(self) -> Node:
        node = self.primary()
        start = node.start
        while True:
            kind = self.tokens[self.at][0]
            if kind == ".":
                self.at += 1
                self.nodes += 1
                optional = self._skip("?")
                quoted = self.tokens[self.at][0] == "quoted"
                _, field, at, end = self._take("quoted" if quoted else "name")
                if not quoted and not optional and self.tokens[self.at][0] == "(":
                    args, end = self._args()
                    node = Call(start, end, node, field, at, args)
                else:
                    if not quoted and field in ("true", "false", "null", "in"):
                        raise Refused(f"{field!r} cannot be a field; write [{field!r}]", at, end - at)
                    node = Select(start, end, node, field.strip("`"), at, optional)
            elif kind == "[":
                self.at += 1
                optional = self._skip("?")
                key = self.choice()
                node = Index(start, self._take("]")[3], node, key, optional)
            else:
                return node

    def _args(self) -> tuple[list[Node], int]:
        self._take("(")
        args: list[Node] = []
        if self.tokens[self.at][0] != ")":
            args.append(self.choice())
            while self._skip(","):
                args.append(self.choice())
        return args, self._take(")")[3]

    def primary(self) -> Node:
        self.nodes += 1
        kind, text, start, end = self.tokens[self.at]
        if kind == "name":
            return self._name(text, start, end)
        self.at += 1
        if kind == "number":
            return number(text, start, end)
        if kind == "text":
            return string(text, start, end)
        if kind == "(":
            node = self.choice()
            node.start, node.end = start, self._take(")")[3]
            return node
        if kind == "[":
            return self._list(start)
        if kind == "{":
            return self._map(start)
        if kind == "." and self.tokens[self.at][0] == "name":
            raise Refused("a leading '.' has no use here: remove it", start)
        what = "the end: something is missing" if kind == "end" else repr(text)
        raise Refused(f"unexpected {what}", start, max(1, end - start))

    def _name(self, text: str, start: int, end: int) -> Node:
        self.at += 1
        if text in ("true", "false"):
            return Constant(start, end, "bool", text == "true")
        if text == "null":
            return Constant(start, end, "null", None)
        if text in RESERVED or text == "in":
            raise Refused(f"{text!r} is a reserved word", start, end - start)
        following = self.tokens[self.at][0]
        if following == "(":
            args, stop = self._args()
            return Call(start, stop, None, text, start, args)
        if following == "{":
            raise Refused("messages cannot be made here; a map is written {'key': value}", start, end - start)
        return Name(start, end, text)

    def _list(self, start: int) -> Node:
        items: list[tuple[Node, bool]] = []
        while self.tokens[self.at][0] != "]":
            optional = self._skip("?")
            items.append((self.choice(), optional))
            if not self._skip(","):
                break
        return Sequence(start, self._take("]")[3], items)

    def _map(self, start: int) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        while self.tokens[self.at][0] != "}":
            optional = self._skip("?")
            key = self.choice()
            self._take(":")
            entries.append((key, self.choice(), optional))
            if not self._skip(","):
                break
        return Mapping(start, self._take("}")[3], entries)


def number(text: str, start: int, end: int) -> Constant:
    """The constant of a number token."""
    if len(text) > 40 and text.isalnum():
        raise Refused("the number is too long", start, end - start)
    if text[-1] in "uU":
        return Constant(start, end, "uint", int(text[:-1], 0 if text[:2].lower() == "0x" else 10))
    if text[:2].lower() == "0x":
        return Constant(start, end, "int", int(text, 16))
    if text.isdigit():
        return Constant(start, end, "int", int(text))
    return Constant(start, end, "double", float(text))


def string(text: str, start: int, end: int) -> Constant:
    """The constant of a text token, escapes resolved; raises `Refused` for an escape CEL does not have."""
    body = text.lstrip("rRbB")
    prefix = text[: len(text) - len(body)].lower()
    fence = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
    inner = body[fence:-fence]
    if "r" not in prefix and "\\" in inner:
        inner = _ESCAPE.sub(lambda hit: _unescape(hit, start, end), inner)
    if "b" in prefix:
        return Constant(start, end, "bytes", inner.encode("utf-8", "replace"))
    return Constant(start, end, "string", inner)


def _unescape(hit: re.Match[str], start: int, end: int) -> str:
    short, hex2, hex4, hex8, octal, bad = hit.groups()
    if short is not None:
        return _SHORT.get(short, short)
    code = int(octal, 8) if octal else int(hex2 or hex4 or hex8 or "0", 16)
    if bad is not None or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise Refused(f"unknown escape {hit.group()!r}; write a backslash as two", start, end - start)
    return chr(code)
