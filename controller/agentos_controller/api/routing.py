"""The router and request every route module uses: strict JSON, operation ids that are the functions' names."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute


class StrictRequest(Request):
    """JSON as RFC 8259 has it: no NaN, no lone surrogates, no broken UTF-8. What is accepted can be stored."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def router(tag: str, prefix: str = "") -> APIRouter:
    """A router for one noun."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Route, generate_unique_id_function=lambda route: route.name)
