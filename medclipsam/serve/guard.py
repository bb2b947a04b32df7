"""Lets a request in, or not, before anything of it is read: its Host, where it comes from, its token, its length.

    Host: evil.example            403   a name that leads here from elsewhere (DNS rebinding)
    Origin: http://evil.example   403   a page elsewhere; so are requests that a browser calls cross-site or same-site
    no token, or another          401   the header `Authorization: Bearer TOKEN`, or the cookie that `/?token=` sets
    longer than allowed           413

Only `/v1/health` answers without a token. A bug ends in 500 and a log line without the error's words, which may quote a
file.
"""

from __future__ import annotations

import hmac
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = "/v1/health"
"""The one path that answers without a token."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LONGEST_JSON = 2**20
"""Bytes of a body that is no upload."""
SAFE = ("same-origin", "none")
"""What a browser says of a request that no other page made."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; "
        "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self' blob: data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
log = logging.getLogger("medclipsam.serve")


class TooLong(Exception):
    """A body of more bytes than are allowed."""


class Guard:
    """Stands before an ASGI application.

    Args:
        app: what answers those who are let in.
        token: what they must know.
        hosts: names that this server is called by, with or without a port; the loopback ones are always known.
        most_bytes: longest upload.
    """

    def __init__(self, app: App, *, token: str, hosts: Iterable[str] = (), most_bytes: int) -> None:
        self._app, self._token, self._most_bytes = app, token, most_bytes
        self._hosts = {host.lower() for host in (*LOOPBACK, *hosts)}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except TooLong:
            await exchange.refuse(413, f"the request is longer than {self._most_bytes:,} bytes")
        except Exception as error:
            log_bug(error)
            await exchange.refuse(500, "the server failed; its terminal says where")
        finally:
            exchange.note()

    async def _answer(self, exchange: _Exchange) -> None:
        if not self._knows_host(exchange.header("host")):
            await exchange.refuse(403, "the server is not called by this name")
        elif not self._is_own_page(exchange):
            await exchange.refuse(403, "another page may not ask here")
        elif exchange.path == "/" and "token" in exchange.query:
            await self._admit(exchange)
        elif exchange.path != OPEN and not self._knows_token(exchange):
            await exchange.refuse(401, "open the address that the server printed, or send its token")
        else:
            await self._app(exchange.scope, exchange.limited(self._limit(exchange)), exchange.send)

    def _limit(self, exchange: _Exchange) -> int:
        kind = exchange.header("content-type")
        limit = self._most_bytes if kind.startswith("multipart/form-data") else LONGEST_JSON
        length = exchange.header("content-length")
        if length and (not length.isdecimal() or int(length) > limit):
            raise TooLong
        return limit

    def _knows_host(self, host: str) -> bool:
        name = host.lower()
        return name in self._hosts or _without_port(name) in self._hosts

    def _is_own_page(self, exchange: _Exchange) -> bool:
        """Programs send neither header; browsers send one of them with everything that a page of ours asks."""
        origin, site = exchange.header("origin"), exchange.header("sec-fetch-site")
        own = {f"http://{exchange.header('host')}".lower(), f"https://{exchange.header('host')}".lower()}
        arrives = exchange.path == "/" and exchange.header("sec-fetch-mode") == "navigate"
        return (not origin or origin.lower() in own) and (not site or site in SAFE or arrives)

    def _knows_token(self, exchange: _Exchange) -> bool:
        kind, _, given = exchange.header("authorization").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        return self._is_token(exchange.cookie(cookie_name(exchange.header("host"))))

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _admit(self, exchange: _Exchange) -> None:
        """Turn the token of the address into a cookie, and take it out of the address."""
        if not self._is_token(exchange.query["token"][0]):
            await exchange.refuse(401, "this is not the server's token")
            return
        cookie = f"{cookie_name(exchange.header('host'))}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        await exchange.reply(303, b"", [("Location", "/"), ("Set-Cookie", cookie)])


class _Exchange:
    """One request and what becomes of it."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.path = str(scope["path"])
        self.query = parse_qs(scope["query_string"].decode("latin-1"))
        self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._status: int | None = None
        self._began = perf_counter()

    def header(self, name: str) -> str:
        """Empty where there is none."""
        return self._headers.get(name, "")

    def cookie(self, name: str) -> str:
        """Empty where there is none."""
        try:
            found = SimpleCookie(self.header("cookie")).get(name)
        except CookieError:
            return ""
        return found.value if found else ""

    def limited(self, most_bytes: int) -> Receive:
        """Receives the body, up to a length."""
        seen = 0

        async def receive() -> Message:
            nonlocal seen
            message = await self._receive()
            seen += len(message.get("body", b""))
            if seen > most_bytes:
                raise TooLong
            return message

        return receive

    async def send(self, message: Message) -> None:
        """Send a part of the answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            there = {name.lower() for name, _ in message.get("headers", ())}
            more = [
                (name.lower().encode(), value.encode())
                for name, value in HEADERS.items()
                if name.lower().encode() not in there
            ]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await self._send(message)

    async def refuse(self, status: int, problem: str) -> None:
        """Say why not, where nothing has been said yet."""
        if self._status is None:
            body = json.dumps({"problem": problem, "remedy": ""}).encode()
            await self.reply(status, body, [("Content-Type", "application/json"), ("Connection", "close")])

    async def reply(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        """A whole answer."""
        told = [(name.lower().encode(), value.encode()) for name, value in headers]
        told.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": told})
        await self._send({"type": "http.response.body", "body": body})

    def note(self) -> None:
        """One line for who watches; of the path only what the server itself called it."""
        route = getattr(self.scope.get("route"), "path", "-")
        log.info("%s %s %s %.3f s", self.scope["method"], route, self._status, perf_counter() - self._began)


def log_bug(error: Exception) -> None:
    """Where a bug is, without the error's words."""
    log.error("%s in:\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))


def cookie_name(host: str) -> str:
    """Browsers send cookies to every port of a host, so that the name holds the port."""
    port = host.rpartition(":")[2]
    return f"medclipsam-{port if port.isdecimal() else 80}"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
