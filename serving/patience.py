"""How long a connection may wait for its client. uvicorn counts only the seconds between two requests, and stops at a byte."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

SECONDS = 15.0


def connections(seconds: float = SECONDS) -> Callable[..., asyncio.Protocol]:
    """uvicorn's connections, ended where a client neither finishes a request nor takes of an answer for `seconds`.

    They are looked at that often: one may last twice as long. The body of a request has a limit of its own: see `guards`.
    """

    def connection(**given: Any) -> asyncio.Protocol:
        made: Any = AutoHTTPProtocol(**given)
        loop = asyncio.get_running_loop()

        def look(before: object) -> None:
            if made.transport is not None and made.transport.is_closing():
                return
            now = _awaited(made)
            if now is not None and now == before:
                made.transport.abort()
            else:
                loop.call_later(seconds, look, now)

        loop.call_soon(look, None)
        return cast(asyncio.Protocol, made)

    return connection


def _awaited(connection: Any) -> object:
    """What the client is to do next, the same for as long as it has not done it; None where the client is who waits."""
    if connection.transport is None:
        return None
    unread = connection.transport.get_write_buffer_size()
    if unread:
        return unread
    answered = connection.cycle
    return ("a request after", answered) if answered is None or answered.response_complete else None
