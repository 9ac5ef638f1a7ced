"""The tool boundary: one operation of a connector, from arguments to a validated result.

The secret is fetched for the call alone and taken out of whatever comes back. Retries are the caller's. Redirects are
not followed, bodies are capped, and hosts other than the connector's are refused by the guarded client.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from agentos_engine.expressions import evaluate
from agentos_engine.runtime import cassette, errors, retry, scrub, values
from agentos_engine.runtime import frame as frames

MAX_BODY = 8 * 1024 * 1024
DEFAULT_TIMEOUT_MS = 30_000
_KEPT_HEADERS = ("content-type", "retry-after", "link", "location", "etag", "x-request-id")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response without its secrets: `body` is JSON where it is JSON, else text; null when empty."""

    status: int
    headers: Mapping[str, str]
    body: Any

    def as_json(self) -> dict[str, Any]:
        return {"status": self.status, "headers": dict(self.headers), "body": self.body}


@dataclass(frozen=True, slots=True)
class _Auth:
    headers: Mapping[str, str]
    query: Mapping[str, str]
    secrets: tuple[str, ...]


class Operation:
    """One operation, prepared once from its artifact and used by every run."""

    def __init__(self, connector: Mapping[str, Any], name: str) -> None:
        body: Mapping[str, Any] = connector["operations"][name]
        defs = connector.get("$defs", {})
        self.name = f"{connector['name']}.{name}"
        self.effect: str = body.get("effect", "destructive")
        self.retry = retry.Policy.of(body.get("retry"))
        self._method: str = body["method"].upper()
        self._base: str = connector["baseUrl"].rstrip("/")
        self._path: str = body["path"]
        self._hosts = tuple(connector.get("hosts") or (httpx.URL(self._base).netloc.decode(),))
        self._auth: Mapping[str, Any] | None = connector.get("auth")
        self._timeout = (body.get("timeoutMs") or connector.get("timeoutMs") or DEFAULT_TIMEOUT_MS) / 1000
        self._query = evaluate.prepare_value(body.get("query") or {})
        self._headers = evaluate.prepare_value({**(connector.get("headers") or {}), **(body.get("headers") or {})})
        self._body = evaluate.prepare_value(body["body"]) if body.get("body") is not None else None
        self._input = values.schema_of(body.get("input"), defs)
        self._output = values.schema_of(body.get("output"), defs)
        self._result = evaluate.prepare_value(body["result"]) if body.get("result") is not None else None
        self._idempotency: str | None = body.get("idempotency")
        self._errors = {class_: evaluate.compile(text) for class_, text in (body.get("errors") or {}).items()}

    async def call(self, arguments: Any, frame: frames.Frame, path: str) -> Any:
        """The operation's result for `arguments`; raises `errors.RunError`. `path` of the step is the call's key."""
        args = self._input.accept({} if arguments is None else arguments, "with", "InvalidInput")
        try:
            answer = await self._answer(args, frame, path)
            self._raise_for(answer, frame)
            result = answer.body
            if self._result is not None:
                result = self._result({**answer.as_json(), "args": args, "input": args, **frame.names})
        except evaluate.ExpressionError as error:
            raise errors.RunError("Error", f"{self.name}: {error}") from None
        return self._output.accept(result, f"{self.name}: output", "InvalidOutput")

    async def _answer(self, args: Any, frame: frames.Frame, path: str) -> Answer:
        tape = frame.services.cassette
        request = {"args": args}
        auth = await self._credentials(frame)
        if tape is not None and tape.mode == "replay" and (auth is None or self._auth is None):
            try:
                recorded = tape.replay("connector", self.name, request)
            except cassette.CassetteError as error:
                raise errors.RunError("ToolFailed", str(error)) from None
            return Answer(recorded["status"], recorded.get("headers") or {}, recorded.get("body"))
        if auth is None:
            secret = (self._auth or {}).get("secret")
            raise errors.RunError("Unauthorized", f"{self.name}: the secret {secret} is not set for this tenant")
        answer = await self._send(args, auth, frame, path)
        if tape is not None and tape.mode == "record":
            tape.record("connector", self.name, request, answer.as_json())
        return answer

    async def _credentials(self, frame: frames.Frame) -> _Auth | None:
        """What authenticates a request; None if the tenant has not set the secret."""
        if self._auth is None:
            return _Auth({}, {}, ())
        try:
            secret = await frame.services.secret(self._auth["secret"], self._hosts)
        except LookupError:
            return None
        match self._auth["type"]:
            case "bearer":
                return _Auth({"Authorization": f"Bearer {secret}"}, {}, (secret,))
            case "basic":
                pair = f"{self._auth.get('username') or ''}:{secret}"
                encoded = base64.b64encode(pair.encode()).decode()
                return _Auth({"Authorization": f"Basic {encoded}"}, {}, (pair, secret))
            case _:
                if (header := self._auth.get("header")) is not None:
                    return _Auth({header: secret}, {}, (secret,))
                return _Auth({}, {self._auth.get("query") or "api_key": secret}, (secret,))

    async def _send(self, args: Any, auth: _Auth, frame: frames.Frame, path: str) -> Answer:
        clean = scrub.scrubber(auth.secrets)
        names = {"args": args, "input": args, **frame.names}
        headers = {name: _header(name, value) for name, value in self._headers(names).items() if value is not None}
        if self._idempotency is not None:
            headers[self._idempotency] = f"{frame.run_id}/{path}"
        headers |= auth.headers
        content = None
        if self._body is not None:
            body = self._body(names)
            content = body.encode() if isinstance(body, str) else orjson.dumps(body)
            if not any(name.lower() == "content-type" for name in headers):
                headers["Content-Type"] = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
        query = [*_pairs(self._query(names)), *auth.query.items()]
        try:
            url = httpx.URL(self._base + self._filled(args))
            if query:
                url = url.copy_merge_params(httpx.QueryParams(tuple(query)))
            client = frame.services.http(self._hosts)
            request = client.build_request(self._method, url, headers=headers, content=content, timeout=self._timeout)
            async with asyncio.timeout(self._timeout):
                return await _exchange(client, request, clean)
        except (TimeoutError, httpx.TimeoutException):
            raise errors.RunError("Timeout", f"{self.name}: no answer within {self._timeout:g} s") from None
        except (httpx.InvalidURL, ValueError) as error:
            raise errors.RunError("InvalidInput", clean(f"{self.name}: {error}")) from None
        except httpx.HTTPError as error:
            raise transport_error(error, self.name, clean) from None

    def _filled(self, args: Any) -> str:
        def fill(match: re.Match[str]) -> str:
            value = args.get(match[1]) if isinstance(args, Mapping) else None
            text = _text(value) if value is not None else ""
            if text in ("", ".", "..") or isinstance(value, (list, dict)):
                raise errors.RunError(
                    "InvalidInput", f"with.{match[1]}: {text!r} cannot stand in the path of {self.name}"
                )
            return quote(text, safe="")

        return _PLACEHOLDER.sub(fill, self._path)

    def _raise_for(self, answer: Answer, frame: frames.Frame) -> None:
        seen = answer.as_json()
        class_ = next((name for name, holds in self._errors.items() if holds.evaluate(seen) is True), None)
        if class_ is None and (class_ := errors.class_of_status(answer.status)) is None:
            return
        shown = answer.body if isinstance(answer.body, str) else orjson.dumps(answer.body).decode()
        raise errors.RunError(
            class_,
            f"{self.name}: HTTP {answer.status}: {shown[:_SHOWN]}",
            details={"status": answer.status},
            retry_after=retry_after(answer.headers.get("retry-after"), frame),
        )


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, clean: Callable[[str], str]) -> Answer:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        read = bytearray()
        async for chunk in response.aiter_bytes():
            read += chunk
            if len(read) > MAX_BODY:
                raise errors.RunError("ToolFailed", f"the answer is larger than {MAX_BODY:,} bytes")
    finally:
        await response.aclose()
    try:
        text = clean(read.decode(response.charset_encoding or "utf-8", errors="replace"))
    except LookupError:
        text = clean(read.decode(errors="replace"))
    headers = {name: clean(response.headers[name]) for name in _KEPT_HEADERS if name in response.headers}
    return Answer(response.status_code, headers, _parsed(text, response.headers.get("content-type", "")))


def _parsed(text: str, content_type: str) -> Any:
    if not text:
        return None
    if "json" in content_type or (text[0] in "{[" and not content_type.startswith("text/")):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text


def transport_error(error: Exception, name: str, clean: Callable[[str], str]) -> errors.RunError:
    """What a failure below HTTP means: a `RunError` in its causes as it is (a guard's refusal), else unreachable."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, errors.RunError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return errors.RunError("Unavailable", clean(f"{name}: {type(error).__name__}: {error}"[:_SHOWN]))


def retry_after(header: str | None, frame: frames.Frame) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None if there is none to understand."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at - frame.services.now()).total_seconds()) if at.tzinfo is not None else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return (
        value
        if isinstance(value, str)
        else orjson.dumps(value).decode()
        if isinstance(value, (list, dict))
        else str(value)
    )


def _header(name: str, value: Any) -> str:
    text = _text(value)
    if not text.isprintable():
        raise errors.RunError("InvalidInput", f"the value of the header {name} has characters that cannot stand there")
    return text


def _pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Query parameters: null is left out, a list repeats its name, an object is compact JSON."""
    return [
        (name, _text(item))
        for name, value in query.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
