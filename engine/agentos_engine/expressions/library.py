"""The functions of ours, in Python: pure, total over their types, with capped results.

Each takes and gives plain values as the evaluator hands them over (lists, maps, text, numbers, aware datetimes). A
`ValueError` becomes the run-time error of the expression. Regular expressions are RE2's, so no pattern takes more than
linear time. Time zones come from the system's database or the `tzdata` package.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import re
import urllib.parse
import uuid
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]

MAX_ITEMS = 10_000
MAX_TEXT = 1024 * 1024
_SEED = uuid.UUID("a6c1f9f2-3c5f-5a4e-9c55-0f7e4c3d6b21")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_ISO = re.compile(r"(-)?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_LETTERS = re.compile(r"'[^']*'|([A-Za-z])\1*|[^A-Za-z']+")

List = list[Any]
Map = dict[Any, Any]


def capped(value: Any) -> Any:
    """`value` if it is no longer than a result may be; raises ValueError."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ValueError(f"the text has {len(value)} characters, at most {MAX_TEXT} are allowed")
    elif isinstance(value, (list, dict)) and len(value) > MAX_ITEMS:
        raise ValueError(f"the result has {len(value)} elements, at most {MAX_ITEMS} are allowed")
    return value


def _order(value: Any) -> tuple[int, Any]:
    """A sort key under which any two values compare: numbers, texts, times; null last."""
    if value is None:
        return (9, 0)
    if isinstance(value, (bool, int, float)):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, datetime.datetime):
        return (2, value.timestamp())
    if isinstance(value, datetime.timedelta):
        return (3, value.total_seconds())
    raise ValueError('lists and maps have no order; use sortBy(list, "field")')


def _key(value: Any) -> Any:
    """A hashable stand-in, equal for values CEL holds equal."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return ("map", frozenset((key, _key(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(_key(item) for item in value))
    return value


def coalesce(items: List) -> Any:
    return next((item for item in items if item is not None), None)


def _numbers(items: List) -> List:
    if any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in items):
        raise ValueError("only numbers can be added up")
    return items


def total(items: List) -> Any:
    return sum(_numbers(items))


def average(items: List) -> Any:
    return float(sum(_numbers(items))) / len(items) if items else None


def smallest(items: List) -> Any:
    present = [item for item in items if item is not None]
    return min(present, key=_order) if present else None


def largest(items: List) -> Any:
    present = [item for item in items if item is not None]
    return max(present, key=_order) if present else None


def sort(items: List) -> List:
    return sorted(items, key=_order)


def sort_by(items: List, field: str) -> List:
    return sorted(items, key=lambda item: _order(item.get(field) if isinstance(item, dict) else None))


def distinct(items: List) -> List:
    seen: dict[Any, Any] = {}
    for item in items:
        seen.setdefault(_key(item), item)
    return list(seen.values())


def flatten(items: List) -> List:
    flat: List = []
    for item in items:
        if isinstance(item, list):
            flat += item
        else:
            flat.append(item)
        capped(flat)
    return flat


def reverse(items: List) -> List:
    return items[::-1]


def cut(items: List, start: int, stop: int) -> List:
    return items[start:stop]


def chunk(items: List, count: int) -> List:
    if count < 1:
        raise ValueError("chunk(list, n) wants n ≥ 1")
    return [items[at : at + count] for at in range(0, len(items), count)]


def count_up(count: int) -> List:
    if count > MAX_ITEMS:
        raise ValueError(f"range(n) wants n ≤ {MAX_ITEMS}")
    return list(range(count))


def pairs(left: List, right: List) -> List:
    return [[one, other] for one, other in zip(left, right, strict=False)]


def first(items: List) -> Any:
    return items[0] if items else None


def last(items: List) -> Any:
    return items[-1] if items else None


def ordered(value: List | Map) -> List:
    """What `map` and `filter` go over: a list itself, the keys of a map in order."""
    return sorted(value) if isinstance(value, dict) else value


def in_parts(value: List | Map) -> List:
    """The same in parts of 100."""
    return chunk(ordered(value), 100)


def joined(parts: List) -> List:
    """The parts as one list again."""
    return [item for part in parts for item in part]


def entries(value: Map) -> List:
    return [{"key": key, "value": value[key]} for key in sorted(value, key=str)]


def keys(value: Map) -> List:
    return sorted((str(key) for key in value), key=str)


def values(value: Map) -> List:
    return [value[key] for key in sorted(value, key=str)]


def merge(left: Map, right: Map) -> Map:
    return {**left, **right}


def pick(value: Map, wanted: List) -> Map:
    return {key: value[key] for key in wanted if isinstance(key, str) and key in value}


def omit(value: Map, unwanted: List) -> Map:
    gone = {key for key in unwanted if isinstance(key, str)}
    return {key: item for key, item in value.items() if key not in gone}


def to_json(value: Any) -> str:
    """Compact JSON in the order the keys have; numbers in their shortest form."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_encode, sort_keys=True)


def _encode(value: Any) -> Any:
    return time_text(value) if isinstance(value, datetime.datetime) else str(value)


def parse_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the text is not JSON: {error}") from None


def truncate(text: str, count: int) -> str:
    if count < 1:
        return ""
    return text if len(text) <= count else text[: count - 1] + "…"


@functools.lru_cache(maxsize=256)
def _pattern(source: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1024 * 1024
    try:
        return re2.compile(source, options)
    except re2.error as error:
        raise ValueError(f"the pattern {source!r} is not RE2: {error}") from None


def regex_find(text: str, pattern: str) -> str | None:
    hit = _pattern(pattern).search(text)
    if hit is None:
        return None
    found: str | None = hit.group(1) if hit.re.groups else hit.group()
    return found


def regex_replace(text: str, pattern: str, replacement: str) -> str:
    if len(text) * (len(replacement) + 1) > 64 * MAX_TEXT:
        raise ValueError("the text and its replacement are too long")
    replaced: str = _pattern(pattern).sub(replacement, text)
    return replaced


def zone(name: str) -> datetime.tzinfo:
    """The time zone of an IANA name, or ``UTC``."""
    if name in ("", "UTC", "Z"):
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError(f"{name!r} is no time zone; write one such as Europe/Berlin") from None


def format_time(moment: datetime.datetime, pattern: str, name: str = "UTC") -> str:
    local = moment.astimezone(zone(name))
    return "".join(_letter(hit.group(), local) for hit in _LETTERS.finditer(pattern))


def _letter(run: str, local: datetime.datetime) -> str:
    if run[0] == "'":
        return run[1:-1] or "'"
    if not run[0].isalpha():
        return run
    offset = local.strftime("%z")
    forms: Mapping[str, str] = {
        "yyyy": f"{local.year:04d}", "yy": f"{local.year % 100:02d}", "y": str(local.year),
        "MMMM": _MONTHS[local.month - 1], "MMM": _MONTHS[local.month - 1][:3],
        "MM": f"{local.month:02d}", "M": str(local.month), "dd": f"{local.day:02d}", "d": str(local.day),
        "EEEE": _DAYS[local.weekday()], "EEE": _DAYS[local.weekday()][:3], "E": _DAYS[local.weekday()][:3],
        "HH": f"{local.hour:02d}", "H": str(local.hour), "hh": f"{(local.hour + 11) % 12 + 1:02d}",
        "h": str((local.hour + 11) % 12 + 1), "a": "AM" if local.hour < 12 else "PM",
        "mm": f"{local.minute:02d}", "m": str(local.minute), "ss": f"{local.second:02d}", "s": str(local.second),
        "SSS": f"{local.microsecond // 1000:03d}", "z": local.tzname() or "", "Z": offset,
        "XXX": "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}", "DDD": f"{local.timetuple().tm_yday:03d}",
        "ww": f"{local.isocalendar().week:02d}",
    }  # fmt: skip
    if run not in forms:
        raise ValueError(f"{run!r} is no part of a time pattern; literal letters stand in 'quotes'")
    return forms[run]


_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def start_of(moment: datetime.datetime, unit: str, name: str = "UTC") -> datetime.datetime:
    local = moment.astimezone(zone(name)).replace(minute=0, second=0, microsecond=0)
    if unit == "hour":
        return local.astimezone(datetime.UTC)
    day = local.replace(hour=0, fold=0)
    match unit:
        case "day":
            begin = day
        case "week":
            begin = day - datetime.timedelta(days=day.weekday())
        case "month":
            begin = day.replace(day=1)
        case "quarter":
            begin = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            begin = day.replace(month=1, day=1)
        case _:
            raise ValueError(f"{unit!r} is none of hour, day, week, month, quarter, year")
    return begin.astimezone(datetime.UTC)


def parse_duration(text: str) -> datetime.timedelta:
    iso = _ISO.fullmatch(text)
    try:
        if iso and text[-1] not in "PT":
            sign, weeks, days, hours, minutes, seconds = iso.groups()
            span = datetime.timedelta(
                weeks=int(weeks or 0), days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0),
                seconds=float(seconds or 0),
            )  # fmt: skip
            return -span if sign else span
        body = text.removeprefix("-")
        parts = _SPAN.findall(body)
        if not parts or "".join(number + unit for number, unit in parts) != body:
            raise ValueError(f"{text!r} is no duration; write one such as 90s, 1h30m, 7d or PT90M")
        span = datetime.timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
        return -span if text.startswith("-") else span
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None


def time_text(moment: datetime.datetime) -> str:
    """RFC 3339 in UTC, with as many digits of a second as there are."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return aware.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")


def duration_text(span: datetime.timedelta) -> str:
    """Seconds, as CEL writes them: ``5400s``, ``0.25s``."""
    seconds = span.total_seconds()
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds:.6f}".rstrip("0") + "s"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def make_uuid(seed: str) -> str:
    return str(uuid.uuid5(_SEED, seed))


def url_parts(text: str) -> Map:
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no URL: {error}") from None
    return {
        "scheme": parts.scheme, "host": parts.hostname or "", "port": port, "path": parts.path,
        "query": dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True)), "fragment": parts.fragment,
    }  # fmt: skip


def encode_url(text: str) -> str:
    return urllib.parse.quote(text, safe="")


IMPLEMENTATIONS: Mapping[str, Callable[..., Any]] = {
    "coalesce": coalesce, "sum": total, "avg": average, "min": smallest, "max": largest, "sort": sort,
    "sortBy": sort_by, "distinct": distinct, "flatten": flatten, "reverse": reverse, "slice": cut, "chunk": chunk,
    "range": count_up, "zip": pairs, "first": first, "last": last, "entries": entries, "keys": keys, "values": values,
    "merge": merge, "pick": pick, "omit": omit, "json": to_json, "parseJson": parse_json, "lower": str.lower,
    "upper": str.upper, "title": str.title, "truncate": truncate, "lines": str.splitlines, "regexFind": regex_find,
    "regexReplace": regex_replace, "formatTime": format_time, "startOf": start_of, "parseDuration": parse_duration,
    "hash": digest, "uuid": make_uuid, "url": url_parts, "encodeUrl": encode_url,
}  # fmt: skip


_WANTED: Mapping[str, type] = {
    "string": str, "int": int, "timestamp": datetime.datetime, "list": list, "map": dict, "list<string>": list,
    "list<number>": list, "list<comparable>": list,
}  # fmt: skip


def bounded(name: str, signatures: Sequence[tuple[str, ...]]) -> Callable[..., Any]:
    """The function `name`, with its arguments held to one of `signatures` and both ends to the caps."""
    function = IMPLEMENTATIONS[name]

    def call(*args: Any) -> Any:
        for words in signatures:
            if len(words) == len(args) and all(map(_fits, words, args)):
                break
        else:
            kinds = ", ".join("null" if arg is None else type(arg).__name__ for arg in args)
            raise ValueError(f"these values do not go together: {name}({kinds})")
        for arg in args:
            capped(arg)
        return capped(function(*args))

    return call


def _fits(word: str, value: Any) -> bool:
    wanted = _WANTED.get(word)
    return wanted is None or (isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)))


__all__: Sequence[str] = ("IMPLEMENTATIONS", "MAX_ITEMS", "MAX_TEXT", "bounded", "capped", "time_text")
