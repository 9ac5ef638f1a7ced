"""The HTTP server: a socket of ours, and uvicorn on it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from types import FrameType

import uvicorn

from agentos_controller import settings


def listen(chosen: settings.Settings) -> socket.socket:
    """The listening socket, bound before anything else so that a taken port is told at once."""
    try:
        family = socket.getaddrinfo(chosen.host, chosen.port, type=socket.SOCK_STREAM)[0][0]
        # The protocol is named because asyncio turns Nagle off only then: small answers would wait 40 ms for an ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((chosen.host, chosen.port))
        listener.listen(512)
        listener.setblocking(False)
    except OSError as error:
        raise settings.ConfigurationError(
            f"cannot listen on {chosen.listen}: {error.strerror}; choose another address with --listen"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Server(uvicorn.Server):
    """Uvicorn on a socket that is ours; a signal first ends the open streams, then the server."""

    def __init__(self, application: object, stopping: asyncio.Event) -> None:
        super().__init__(
            uvicorn.Config(
                application,  # type: ignore[arg-type]
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=True,
                lifespan="off",
                ws="none",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=10,
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        self._stopping = stopping
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn's own raises the signal again when it has ended, which would end the rest half-way.
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for each in signals:
            loop.add_signal_handler(each, self.handle_exit, each, None)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)

    @contextlib.asynccontextmanager
    async def running(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve on `listener` while the block lasts; entered when requests are answered."""
        self._task = asyncio.create_task(self.serve(sockets=[listener]))
        while not self.started:
            if self._task.done():
                self._task.result()
                raise settings.ConfigurationError("the API could not be started; see the log")
            await asyncio.sleep(0.002)
        try:
            yield
        finally:
            self._stopping.set()
            self.should_exit = True
            await self._task

    async def ended(self) -> None:
        """Until a signal ends the server."""
        assert self._task is not None
        await asyncio.wait({self._task})
