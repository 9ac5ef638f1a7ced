"""The client of the HTTP API that the verbs share: address, key, problems as failures."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from agentos_controller import settings
from agentos_controller.cli.failures import Failure

_HINTS = {
    401: "Set AGENTOS_API_KEY; `agentos serve` says where it keeps the first key.",
    403: "Use a key that has the permission, or ask an admin for one (`agentos keys create`).",
    503: "The server is starting; try again in a moment.",
}


def find_key() -> str | None:
    """AGENTOS_API_KEY, else the admin key an embedded `serve` of this user left in its state directory."""
    if key := os.environ.get("AGENTOS_API_KEY"):
        return key
    path = settings.state_directory(os.environ) / settings.ADMIN_KEY_FILE
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Failure(f"{path} is readable by others", f"chmod 600 {path}, and replace the key")
        return path.read_text().strip()
    except OSError:
        return None


class Client:
    """One connection to a server. Every failing answer becomes a `Failure` with the problem's own words."""

    def __init__(self, server: str | None = None, timeout: float | None = None) -> None:
        """`timeout`, in seconds, is for whom no answer is better than a late one."""
        self.server = (server or os.environ.get("AGENTOS_SERVER") or settings.DEFAULT_SERVER).rstrip("/")
        key = find_key()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.server, headers=headers, timeout=timeout or httpx.Timeout(30, read=330))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.send("GET", path, params={key: value for key, value in params.items() if value is not None})

    def post(self, path: str, body: Any = None, **params: Any) -> Any:
        return self.send("POST", path, json=body, params=params)

    def send(self, method: str, path: str, **options: Any) -> Any:
        """JSON of the answer, None where it has no content."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError:
            raise Failure(
                f"no server answers at {self.server}", "Start one with `agentos serve`, or set AGENTOS_SERVER."
            ) from None
        except httpx.HTTPError as error:
            raise Failure(f"{self.server}: {error or type(error).__name__}") from None
        _raise_for(response)
        return response.json() if response.content else None

    def pages(self, path: str, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page, at most `limit`."""
        cursor: str | None = None
        left = limit
        while True:
            size = 500 if left is None else min(left, 500)
            page = self.get(path, cursor=cursor, limit=size, **params)
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page.get("nextCursor")
            if not cursor or left == 0:
                return

    def events(self, path: str, after: int | None = None) -> Iterator[tuple[str, str, str]]:
        """Server-sent events as (id, event, data), until the server ends the stream."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": str(after)} if after is not None else {})
        try:
            with self._http.stream("GET", path, headers=headers, timeout=None) as response:
                if response.is_error:
                    response.read()
                    _raise_for(response)
                yield from _frames(response)
        except httpx.HTTPError as error:
            raise Failure(f"{self.server}: {error or type(error).__name__}") from None


def _frames(response: httpx.Response) -> Iterator[tuple[str, str, str]]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            if "data" in fields:
                yield fields.get("id", ""), fields.get("event", "message"), fields["data"]
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


def tenant_path(tenant: str, *parts: str) -> str:
    """``/v1/tenants/<tenant>/…`` with every part quoted."""
    return "/".join(["/v1/tenants", quote(tenant, safe=""), *(quote(part, safe="") for part in parts)])


def _raise_for(response: httpx.Response) -> None:
    if not response.is_error:
        return
    problem: Mapping[str, Any] = {}
    if "json" in response.headers.get("content-type", ""):
        problem = response.json()
    detail = problem.get("detail") or problem.get("title") or response.reason_phrase
    errors = "".join(f"\n  {error.get('path', '')}: {error.get('message', '')}" for error in problem.get("errors", []))
    raise Failure(
        f"{detail} ({problem.get('code', response.status_code)}){errors}",
        _HINTS.get(response.status_code),
        status=response.status_code,
    )


def read_text(path: str) -> str:
    """Text of a file, or of standard input for ``-``."""
    try:
        return Path("/dev/stdin" if path == "-" else path).read_text()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
