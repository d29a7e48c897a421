"""What stands before the routes: whose request it is, how large, how often. Plain ASGI: bodies are counted as they come."""

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from serving.metrics import Metrics
from serving.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN_PATHS = ("/", "/healthz", "/readyz", "/favicon.ico")  # they tell nothing of models or data; so do the page's own files
MOST_CLIENTS = 4096  # of whom the rate is kept
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Rules:
    """Who may ask what. An empty token lets everybody in; no hosts lets every name through (a token then protects)."""

    token: str = ""
    hosts: tuple[str, ...] = LOOPBACK
    most_bytes: int = 64 * 1024
    body_seconds: float = 10.0
    per_second: float = 0.0  # requests a second of one client, ten seconds' worth at once; 0 for no limit


class Guard:
    """The rules, before an application; every answer gets the headers that keep a browser on its guard, and is counted."""

    def __init__(self, app: App, rules: Rules, metrics: Metrics) -> None:
        self._app, self._rules, self._metrics = app, rules, metrics
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 499  # a client that went before it was answered

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            await self._guarded(scope, receive, answer)
        finally:
            self._metrics.answered(_route_of(scope), status, time.monotonic() - started)

    async def _guarded(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(headers)
            self._check_origin(headers)
            self._check_rate((scope.get("client") or ("",))[0])  # first: tokens may not be guessed at any rate
            self._check_token(scope["path"], headers)
            body = await self._body(scope["method"], headers, receive)
            _check_kind(body, headers)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        except ClientGone:
            return
        await self._app(scope, _again(body, receive), send)

    def _check_host(self, headers: dict[str, str]) -> None:
        """A page of another site whose name was made to lead here (DNS rebinding) still sends that name."""
        if self._rules.hosts and _name_of(headers.get("host", "")) not in self._rules.hosts:
            allowed = ", ".join(self._rules.hosts)
            raise Problem(400, "Another host", f"this service answers to {allowed}; start it with --name NAME for another name")

    def _check_origin(self, headers: dict[str, str]) -> None:
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Problem(403, "Another site", "requests from other sites' pages are not answered")

    def _check_token(self, path: str, headers: dict[str, str]) -> None:
        if not self._rules.token or path in OPEN_PATHS or path.startswith("/page/"):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._rules.token.encode()):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "A token is needed", "send the header `Authorization: Bearer TOKEN`", challenge)

    def _check_rate(self, client: str) -> None:
        rate = self._rules.per_second
        if not rate:
            return
        now, most = time.monotonic(), 10 * rate
        left, before = self._buckets.pop(client, (most, now))
        left = min(most, left + rate * (now - before))
        self._buckets[client] = (max(0.0, left - 1), now)
        while len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if left < 1:
            wait = {"Retry-After": str(max(1, round((1 - left) / rate)))}
            raise Problem(429, "Too many requests", f"this service answers {rate:g} requests a second of one client", wait)

    async def _body(self, method: str, headers: dict[str, str], receive: Receive) -> bytes:
        """The whole body. Raises Problem where it is too large or comes too slowly, ClientGone where it ends half way."""
        if method in ("GET", "HEAD") and "content-length" not in headers and "transfer-encoding" not in headers:
            return b""
        most = self._rules.most_bytes
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._rules.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise _too_large(most)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Problem(
                408, "Too slow", f"the body did not come within {self._rules.body_seconds:g} s", {"Connection": "close"}
            ) from None


class ClientGone(Exception):
    """The client went while it was sending."""


_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, as one message; what comes after it is a client that goes."""
    left = [body]

    async def received() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return received


def _check_kind(body: bytes, headers: dict[str, str]) -> None:
    """Only JSON: other kinds can be sent by any site's form without a browser asking first."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Problem(415, "JSON is needed", "send JSON with the header `Content-Type: application/json`")


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _route_of(scope: MutableMapping[str, Any]) -> str:
    """The route's pattern: ids and unknown paths would make a series each."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))


def _too_large(most: int) -> Problem:
    return Problem(413, "Too large", f"a body may have {most:,} bytes", {"Connection": "close"})
