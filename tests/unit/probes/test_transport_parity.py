"""The same request through httpx's own transport and through ours: the server and the caller must see the same."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from probes.transport import WireTransport
from tests.unit.probes.raw_server import OK, Peer, serving

MIB = bytes(1 << 20)
ZIPPED = gzip.compress(b"smaller than it looks" * 50, mtime=0)
ANSWERS = {
    "/ok": OK,
    "/204": b"HTTP/1.1 204 No Content\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    "/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\nETag: x\r\n\r\n",
    "/500": b"HTTP/1.1 500 Quite Broken\r\nContent-Length: 0\r\n\r\n",
    "/no-reason": b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
    "/redirect": b"HTTP/1.1 302 Found\r\nLocation: /ok\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
    "/gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED),
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    "/trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "/interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
    "/long-header": b"HTTP/1.1 200 OK\r\nX-Long: %b\r\nContent-Length: 2\r\n\r\nok" % (b"a" * 60_000),
    "/obs-text": b"HTTP/1.1 200 OK\r\nX-A: \xe9t\xe9\r\nx-b:tight  \r\nContent-Length: 0\r\n\r\n",
    "/large": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(MIB), MIB),
    "/head-interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
    "/head": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
}
LAST_ANSWERS = {  # the server closes after these
    "/connection-close": OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    "/http10": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "/http10-until-eof": b"HTTP/1.0 200 OK\r\n\r\nas long as it lasts",
    "/until-eof": b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts",
    "/nothing": b"",
    "/half-a-head": b"HTTP/1.1 200 OK\r\nConte",
    "/too-short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "/half-a-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
    "/malformed": b"220 mail.example ESMTP\r\n\r\n",
    "/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "/not-a-length": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab",
    "/not-a-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
}


async def scripted(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        path = (await peer.request(reader)).decode()
        if path in LAST_ANSWERS:
            writer.write(LAST_ANSWERS[path])
            return
        if path == "/reset":
            writer.transport.get_extra_info("socket").setsockopt(1, 13, bytes([1, 0, 0, 0, 0, 0, 0, 0]))  # SO_LINGER
            writer.transport.abort()
            return
        writer.write(ANSWERS.get(path, OK))


async def letters() -> AsyncIterator[bytes]:
    for piece in (b"ab", b"", b"c" * 70_000):
        yield piece


async def broken() -> AsyncIterator[bytes]:
    yield b"ab"
    raise LookupError("no more letters")


GET_ANSWERS = [path for path in ANSWERS if not path.startswith("/head")]
Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
MULTIPART = {"Content-Type": "multipart/form-data; boundary=here"}
CALLS: dict[str, Call] = {
    **{path: lambda client, path=path: client.get(path) for path in [*GET_ANSWERS, *LAST_ANSWERS, "/reset"]},  # type: ignore[misc]
    **{f"{method} without a body": lambda client, method=method: client.request(method, "/ok")  # type: ignore[misc]
       for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE")},
    "head": lambda client: client.head("/head"),
    "head of an interim answer": lambda client: client.head("/head-interim"),
    "bytes": lambda client: client.post("/ok", content=b"abc"),
    "many bytes": lambda client: client.put("/ok", content=MIB * 3),
    "json": lambda client: client.post("/ok", json={"a": [1, "é"]}),
    "form": lambda client: client.post("/ok", data={"a": "b c"}),
    "multipart": lambda client: client.post("/ok", files={"f": ("n.txt", b"abc")}, headers=MULTIPART),
    "generator": lambda client: client.post("/ok", content=letters()),
    "generator with a length": lambda client: client.post(
        "/ok", content=letters(), headers={"Content-Length": "70002"}
    ),
    "generator longer than said": lambda client: client.post(
        "/ok", content=letters(), headers={"Content-Length": "3"}
    ),
    "generator shorter than said": lambda client: client.post(
        "/ok", content=letters(), headers={"Content-Length": "70003"}
    ),
    "bytes longer than said": lambda client: client.post("/ok", content=b"abc", headers={"Content-Length": "2"}),
    "bytes shorter than said": lambda client: client.post("/ok", content=b"abc", headers={"Content-Length": "4"}),
    "no bytes where some are said": lambda client: client.get("/ok", headers={"Content-Length": "4"}),
    "bytes as chunks": lambda client: client.post("/ok", content=b"abc", headers={"Transfer-Encoding": "chunked"}),
    "generator that fails": lambda client: client.post("/ok", content=broken()),
    "generator to a server that closes": lambda client: client.post("/nothing", content=letters()),
    "redirect": lambda client: client.get("/redirect", follow_redirects=True),
    "auth": lambda client: client.get("/ok", auth=("user", "secret")),
    "cookies": lambda client: client.get("/ok", headers={"Cookie": "a=b"}),
    "query": lambda client: client.get("/ok", params={"q": "a b&c"}),
    "target": lambda client: client.get("/", extensions={"target": b"/ok?unusual=[]"}),
    "line end in a value": lambda client: client.get("/ok", headers={"X-A": "a\r\nX-B: b"}),
    "bare line feed in a value": lambda client: client.get("/ok", headers={"X-A": "a\nX-B: b"}),
    "NUL in a value": lambda client: client.get("/ok", headers={"X-A": "a\0"}),
    "line end in a name": lambda client: client.get("/ok", headers={"X-A: a\r\nX-B": "b"}),
    "colon in a name": lambda client: client.get("/ok", headers={"X-A: a": "b"}),
    "blank behind a name": lambda client: client.get("/ok", headers={"Transfer-Encoding ": "chunked"}),
    "empty name": lambda client: client.get("/ok", headers={"": "b"}),
    "blank in a method": lambda client: client.request("GET /a", "/ok"),
    "line end in a method": lambda client: client.request("GET\r\nX", "/ok"),
    "line end in a target": lambda client: client.get("/", extensions={"target": b"/ok\r\nX: y"}),
    "unsupported scheme": lambda client: client.get("ftp://127.0.0.1/"),
    "no host": lambda client: client.get("http:///ok"),
    "own host": lambda client: client.get("/ok", headers={"Host": "elsewhere"}),
}  # fmt: skip


async def seen(transport: httpx.AsyncBaseTransport, call: Call) -> tuple[Any, list[list[bytes]]]:
    """Return what the caller and the server see of a call, made between two others on the same client.

    Header fields are sorted: httpx puts Host first, wherever it stood.
    """
    async with serving(scripted) as peer, httpx.AsyncClient(transport=transport, base_url=peer.url) as client:
        await client.get("/ok")
        outcome: Any
        try:
            answer = await call(client)
            outcome = (
                answer.status_code, answer.headers.raw, answer.content, answer.http_version, answer.reason_phrase,
                len(answer.history), dict(client.cookies), str(answer.url).removeprefix(peer.url),
            )  # fmt: skip
        except Exception as error:
            outcome = type(error).__name__  # h11's own errors come through httpx's transport; they have the same names
        assert (await client.get("/ok")).content == b"ok"
        port = peer.url.rpartition(":")[2].encode()
        return outcome, [sorted(request.replace(port, b"PORT").split(b"\r\n")) for request in peer.requests]


@pytest.mark.parametrize("name", CALLS)
def test_both_transports_do_the_same(name: str) -> None:
    async def main() -> None:
        ours = await seen(WireTransport(verify=False), CALLS[name])
        theirs = await seen(httpx.AsyncHTTPTransport(verify=False), CALLS[name])
        assert ours == theirs

    asyncio.run(main())
