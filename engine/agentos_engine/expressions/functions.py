"""The registry of what an expression can call: name, signature, one line of documentation, and how it is typed.

The checker resolves calls here, the documentation prints it, and `environment` binds the functions of ours to their
implementations in `library`. The macros (`has`, `all`, `map`, `cel.bind` …) are listed too; their typing is special and
lives with the checker.

Signatures: ``list.join(string) -> string`` is a method, ``sum(list<number>) -> sum`` a function. A parameter is one of
the words of `_ACCEPTS`; a result is a type, or one of the words of `result_of`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentos_engine.expressions import types

NAMESPACES = frozenset({"math", "optional", "cel", "base64", "strings"})
MACROS = frozenset({"has", "all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap", "cel.bind"})

_CEL = """
size(sized) -> int | How many elements, entries or characters.
sized.size() -> int | How many elements, entries or characters.
string.contains(string) -> bool | Whether the text holds another.
string.startsWith(string) -> bool | Whether the text begins with another.
string.endsWith(string) -> bool | Whether the text ends with another.
string.matches(string) -> bool | Whether an RE2 pattern is found in the text.
matches(string, string) -> bool | Whether an RE2 pattern is found in the text.
timestamp(time) -> timestamp | The moment an RFC 3339 text names.
duration(span) -> duration | The length of time a text such as "1h30m" names.
int(convertible) -> int | As an integer: numbers lose their fraction, text is read, times are Unix seconds.
uint(readable) -> uint | As an unsigned integer.
double(readable) -> double | As a number.
string(scalar) -> string | As text.
bool(boolean) -> bool | The truth value a text names.
bytes(string) -> bytes | The UTF-8 bytes of a text.
dyn(any) -> any | The value with its type forgotten.
type(any) -> type | The type of a value.
string.charAt(int) -> string | The character at a position.
string.indexOf(string) -> int | Where another text first stands, or -1.
string.indexOf(string, int) -> int | The same, from a position on.
string.lastIndexOf(string) -> int | Where another text last stands, or -1.
string.lastIndexOf(string, int) -> int | The same, up to a position.
list<string>.join() -> string | The texts as one.
list<string>.join(string) -> string | The texts as one, with a separator.
string.lowerAscii() -> string | ASCII letters in lower case.
string.upperAscii() -> string | ASCII letters in upper case.
string.replace(string, string) -> string | Every occurrence replaced.
string.replace(string, string, int) -> string | The first n occurrences replaced.
string.split(string) -> list<string> | The parts between separators.
string.split(string, int) -> list<string> | At most n parts.
string.substring(int) -> string | From a position to the end.
string.substring(int, int) -> string | Between two positions.
string.trim() -> string | Without white space at both ends.
string.reverse() -> string | The characters backwards.
string.format(list) -> string | printf-like: %s %d %f %e %x %b.
strings.quote(string) -> string | As a quoted literal.
math.greatest(number...) -> join | The largest of its arguments, or of one list.
math.least(number...) -> join | The smallest of its arguments, or of one list.
math.round(double) -> double | To the nearest integer, halves away from zero.
math.floor(double) -> double | Down to an integer.
math.ceil(double) -> double | Up to an integer.
math.trunc(double) -> double | Towards zero.
math.abs(number) -> same | Without its sign.
math.sign(number) -> same | -1, 0 or 1.
math.sqrt(double) -> double | The square root.
math.isNaN(double) -> bool | Whether it is not a number.
math.isInf(double) -> bool | Whether it is infinite.
math.isFinite(double) -> bool | Whether it is an ordinary number.
base64.encode(bytes) -> string | Bytes as base64 text.
base64.decode(string) -> bytes | The bytes base64 text stands for.
optional.of(any) -> optional | A present value.
optional.ofNonZeroValue(any) -> optional | Present unless null, zero or empty.
optional.none() -> optional | A missing value.
optional.orValue(any) -> content | The value, or another if it is missing.
optional.or(optional) -> either | This optional, or another if it is missing.
optional.hasValue() -> bool | Whether the value is there.
optional.value() -> item | The value; an error if it is missing.
has(a.b) | Whether a field is there (and not null, where the schema declares it).
list.all(x, test) | Whether the test holds for every element.
list.exists(x, test) | Whether it holds for one.
list.exists_one(x, test) | Whether it holds for exactly one.
list.map(x, value) | Every element turned into a value; with a test before the value, only those where it holds.
list.filter(x, test) | The elements for which the test holds.
optional.optMap(x, value) | The value turned into another, if it is there.
optional.optFlatMap(x, optional) | The same for a value that may be missing itself.
cel.bind(x, value, expression) | The expression, in which x stands for the value.
"""
_GETTERS = {
    "getFullYear": "The year.", "getMonth": "The month, from 0.", "getDate": "The day of the month, from 1.",
    "getDayOfMonth": "The day of the month, from 0.", "getDayOfWeek": "The day of the week, Sunday is 0.",
    "getDayOfYear": "The day of the year, from 0.", "getHours": "The hour.", "getMinutes": "The minute.",
    "getSeconds": "The second.", "getMilliseconds": "The millisecond.",
}  # fmt: skip
OURS = """
coalesce(list) -> coalesce | The first element that is not null.
sum(list<number>) -> sum | The sum; 0 for none.
avg(list<number>) -> average | The mean, or null for none.
min(list<comparable>) -> item? | The smallest element, or null for none.
max(list<comparable>) -> item? | The largest element, or null for none.
sort(list<comparable>) -> same | In ascending order, null last.
sortBy(list, string) -> same | Objects ordered by one field, null last.
distinct(list) -> same | Every element once, in order of first appearance.
flatten(list) -> flat | One level of nested lists removed.
reverse(list) -> same | Backwards.
slice(list, int, int) -> same | The elements from one position up to another; negative positions count from the end.
chunk(list, int) -> list<same> | Consecutive parts of at most n elements.
range(int) -> list<int> | 0, 1, … n-1.
zip(list, list) -> list<list> | Pairs of elements at equal positions, as long as both last.
first(list) -> item? | The first element, or null for none.
last(list) -> item? | The last element, or null for none.
entries(map) -> entries | A list of {key, value}, ordered by key.
keys(map) -> list<string> | The keys, ordered.
values(map) -> values | The values, ordered by key.
merge(map, map) -> merge | Both maps; on equal keys the second wins.
pick(map, list<string>) -> map | Only these keys.
omit(map, list<string>) -> map | All but these keys.
json(any) -> string | As compact JSON.
parseJson(string) -> any | The value JSON text stands for.
lower(string) -> string | In lower case.
upper(string) -> string | In upper case.
title(string) -> string | Every word with a capital.
truncate(string, int) -> string | At most n characters, the last an ellipsis if some were cut.
lines(string) -> list<string> | The lines of a text.
regexFind(string, string) -> string? | The first match of an RE2 pattern (its first group if it has one), or null.
regexReplace(string, string, string) -> string | Every match replaced; \\1 stands for the first group.
formatTime(timestamp, string, string) -> string | A moment by a pattern such as "yyyy-MM-dd HH:mm", in a time zone.
formatTime(timestamp, string) -> string | The same in UTC.
startOf(timestamp, string, string) -> timestamp | The beginning of its hour, day, week, month, quarter or year.
startOf(timestamp, string) -> timestamp | The same in UTC.
parseDuration(string) -> duration | The length of time of "7d", "1h30m" or ISO 8601 "PT90M".
hash(string) -> string | SHA-256 in hexadecimal.
uuid(string) -> string | A UUID that depends on the seed alone.
url(string) -> url | Its parts: scheme, host, port, path, query, fragment.
encodeUrl(string) -> string | Percent-encoded for use in a URL.
"""
_URL = types.object_type({
    "scheme": types.STRING, "host": types.STRING, "port": types.nullable(types.INT), "path": types.STRING,
    "query": types.map_of(types.STRING), "fragment": types.STRING,
}, name="url")  # fmt: skip
_RESULTS: Mapping[str, types.Type] = {
    "bool": types.BOOL, "int": types.INT, "uint": types.UINT, "double": types.EXACT_DOUBLE, "string": types.STRING,
    "string?": types.nullable(types.STRING), "bytes": types.BYTES, "timestamp": types.EXACT_TIMESTAMP,
    "duration": types.EXACT_DURATION, "any": types.DYN, "type": types.TYPE, "map": types.MAP, "url": _URL,
    "list<string>": types.list_of(types.STRING), "list<int>": types.list_of(types.INT),
    "list<list>": types.list_of(types.LIST), "average": types.nullable(types.EXACT_DOUBLE),
}  # fmt: skip
_NUMBER = frozenset({"int", "uint", "double"})
_ACCEPTS: Mapping[str, frozenset[str]] = {
    "any": frozenset({"null", "bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "list",
                      "map", "object", "type"}),
    "sized": frozenset({"string", "bytes", "list", "map", "object"}), "string": frozenset({"string"}),
    "int": frozenset({"int"}), "double": frozenset({"double", "int"}), "number": _NUMBER, "bytes": frozenset({"bytes"}),
    "boolean": frozenset({"bool", "string"}), "time": frozenset({"string", "timestamp", "int"}),
    "span": frozenset({"string", "duration"}), "convertible": _NUMBER | {"string", "timestamp"},
    "readable": _NUMBER | {"string"},
    "scalar": _NUMBER | {"string", "bool", "bytes", "timestamp", "duration"}, "timestamp": frozenset({"timestamp"}),
    "duration": frozenset({"duration"}), "list": frozenset({"list"}), "map": frozenset({"map", "object"}),
    "optional": frozenset({"optional"}), "list<string>": frozenset({"list"}), "list<number>": frozenset({"list"}),
    "list<comparable>": frozenset({"list"}),
}  # fmt: skip
_ITEMS: Mapping[str, frozenset[str]] = {
    "list<string>": frozenset({"string"}), "list<number>": _NUMBER,
    "list<comparable>": _NUMBER | {"string", "bool", "timestamp", "duration"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """One way to call. `params` are words, the target of a method first; `result` is a word."""

    name: str
    signature: str
    doc: str
    params: tuple[str, ...]
    result: str
    method: bool
    variadic: bool = False
    ours: bool = False


def _read(line: str, ours: bool) -> Function:
    signature, _, doc = (part.strip() for part in line.partition(" | "))
    head, _, result = signature.partition(" -> ")
    path, _, inner = head.rstrip(")").partition("(")
    owner, _, name = path.rpartition(".")
    params = tuple(part.strip().removesuffix("...") for part in inner.split(",")) if inner else ()
    namespaced = owner in NAMESPACES and not (owner == "optional" and name not in ("of", "none", "ofNonZeroValue"))
    if namespaced or not owner:
        return Function(path, signature, doc, params, result, False, "..." in inner, ours)
    return Function(name, signature, doc, (owner, *params), result, True, "..." in inner, ours)


def _getters() -> list[str]:
    lines = []
    for name, doc in _GETTERS.items():
        lines += [f"timestamp.{name}() -> int | {doc}", f"timestamp.{name}(string) -> int | {doc[:-1]} in a time zone."]
        if name in ("getHours", "getMinutes", "getSeconds", "getMilliseconds"):
            lines.append(f"duration.{name}() -> int | {doc[:-1]} of a length of time.")
    return lines


REGISTRY: tuple[Function, ...] = (
    *(_read(line, False) for line in (*_CEL.strip().splitlines(), *_getters())),
    *(_read(line, True) for line in OURS.strip().splitlines()),
)
"""Everything that can be called, in the order the documentation shows."""

FUNCTIONS: dict[str, tuple[Function, ...]] = {}
METHODS: dict[str, tuple[Function, ...]] = {}
for _function in REGISTRY:
    if _function.name not in MACROS:
        _table = METHODS if _function.method else FUNCTIONS
        _table[_function.name] = (*_table.get(_function.name, ()), _function)


def accepts(word: str, kind: types.Type) -> bool:
    """Whether a value of `kind` may be given for the parameter `word` (null is judged by the caller)."""
    if kind.kind in ("any", "error"):
        return word != "optional"
    if kind.kind not in _ACCEPTS[word]:
        return False
    items = _ITEMS.get(word)
    item = kind.item
    if items is None or item is None or item.kind in ("any", "error"):
        return True
    return item.kind in items or (item.kind == "null" and word == "list<comparable>")


_SAID = {
    "any": "a value", "sized": "text, a list or a map", "time": "text with a time", "span": "text with a duration",
    "convertible": "a number or text", "readable": "a number or text", "scalar": "a simple value", "boolean": "text",
    "double": "a number", "list<string>": "a list of strings", "list<number>": "a list of numbers",
    "list<comparable>": "a list of comparable values", "optional": "an optional", "int": "an integer",
}  # fmt: skip


def describe(word: str) -> str:
    """The parameter `word` as a person says it."""
    return _SAID.get(word, f"a {word}")


def suggestions(name: str, method: bool) -> str | None:
    """A hint for a function nobody knows: the same name elsewhere, or the nearest one."""
    other = FUNCTIONS if method else METHODS
    known = METHODS if method else FUNCTIONS
    if name in other:
        return f"it is written {other[name][0].signature.partition(' -> ')[0]}"
    names = [*known, *(macro for macro in MACROS if (macro in ("has", "cel.bind")) != method)]
    close = difflib.get_close_matches(name, names, 1) or difflib.get_close_matches(name, list(other), 1)
    return f"did you mean {close[0]!r}?" if close else None


def result_of(function: Function, args: Sequence[types.Type]) -> types.Type:
    """The type a call has, from the types of its arguments (the target of a method first)."""
    known = _RESULTS.get(function.result)
    return known if known is not None else _derived(function.result, args)


def _item(kind: types.Type) -> types.Type:
    if kind.kind == "object":
        joined: types.Type | None = None
        for field in (kind.fields or {}).values():
            joined = field if joined is None else types.join(joined, field)
        return types.DYN if joined is None or kind.open else joined
    return kind.item or types.DYN


def _plain(kind: types.Type) -> types.Type:
    return types.Type(kind.kind, kind.item, kind.fields, kind.required, kind.open, False, kind.loose, None, kind.name)


def _derived(word: str, args: Sequence[types.Type]) -> types.Type:
    if word == "optional":
        return types.Type("optional", item=args[0] if args else types.DYN)
    first = args[0]
    item = _item(first)
    match word:
        case "same":
            return _plain(types.non_null(first))
        case "list<same>":
            return types.list_of(first)
        case "item":
            return item
        case "item?":
            return types.nullable(item)
        case "coalesce":
            return item
        case "sum":
            return types.INT if item.kind == "int" else types.DOUBLE if item.kind == "double" else types.DYN
        case "flat":
            return types.list_of(_item(item) if item.kind == "list" else types.DYN)
        case "values":
            return types.list_of(item)
        case "entries":
            return types.list_of(types.object_type({"key": types.STRING, "value": item}))
        case "content":
            return types.join(item, args[1])
        case "either":
            return types.Type("optional", item=types.join(item, _item(args[1])))
        case "merge":
            return _merged(first, args[1])
        case _:
            parts = [item] if first.kind == "list" and len(args) == 1 else list(args)
            joined = parts[0]
            for part in parts[1:]:
                joined = types.join(joined, part)
            return _plain(joined)


def _merged(first: types.Type, second: types.Type) -> types.Type:
    if first.kind == "object" and second.kind == "object":
        fields = {**(first.fields or {}), **(second.fields or {})}
        return types.object_type(fields, first.open or second.open, required=first.required | second.required)
    return types.map_of(types.join(_item(first), _item(second)))
