"""What img2dataset may do when the list of addresses comes from a stranger: no inner networks, nothing endless.

This file is started in every process of img2dataset (as its `sitecustomize`), with the standard library alone. It
checks the address that a socket is about to connect to, and not a name before it is resolved: so neither a redirect nor
a name that resolves to something else the second time leads anywhere else.
"""

import http.client
import ipaddress
import os
import socket
import threading
import time
import traceback
import urllib.error
import urllib.request
from email.utils import mktime_tz, parsedate_tz
from typing import Any

ALLOW_PRIVATE = "LIB_ALLOW_PRIVATE"  # environment variable; "1" where inner networks are wanted
REFUSED = "refused by this program"  # how the message of every refusal begins
LARGEST, SECONDS = 20 << 20, 60.0  # bytes and seconds of one picture, its redirects and waiting included
ATTEMPTS, BUSY = 3, (429, 503)
LONGEST_WAIT = 20.0  # seconds that a server may ask us to wait (Retry-After)
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64: an IPv4 address in the last four bytes

_mine = threading.local()  # of the picture that this thread fetches: .connected (sockets), .late (an event)


class Refused(OSError):
    """An address or an answer that is not wanted."""

    def __init__(self, why: str):
        super().__init__(f"{REFUSED}: {why}")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also the one that is wrapped in an IPv6 address."""
    ip: Any = ipaddress.ip_address(address.partition("%")[0])
    if ip.version == 6:
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(ip.packed[-4:])))
        if ip.sixtofour is not None and not is_public(str(ip.sixtofour)):
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def install(allow_private: bool = False) -> None:
    """Put the checks into this process: into every socket, and into `urllib.request.urlopen`, that img2dataset uses."""
    connect = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not allow_private:
            try:
                public = is_public(address[0])
            except ValueError:  # a name, which the system would resolve after this check
                public = False
            if not public:
                raise Refused(f"{address[0]} is no address of the public internet")
        connect(self, address)
        if hasattr(_mine, "connected"):
            _mine.connected.append(self.dup())
            if _mine.late.is_set():
                raise TimeoutError("connected after the time of this picture")

    socket.socket.connect = checked  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = _no_connect_ex  # type: ignore[method-assign]
    opener = urllib.request.OpenerDirector()  # knows no file:, ftp: or data:, to which a redirect could lead
    kinds: list[Any] = [
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ]
    if allow_private:  # what a proxy connects to could not be checked
        kinds.append(urllib.request.ProxyHandler)
    for kind in kinds:
        opener.add_handler(kind())
    urllib.request.urlopen = lambda request, timeout=10.0, **_: fetch(opener, request, timeout)  # type: ignore[assignment]


def _no_connect_ex(*_: Any) -> int:
    raise Refused("a socket that reports errors as numbers")


class Fetched:
    """What `urlopen` gives: headers, and the body, which is here already."""

    def __init__(self, headers: Any, body: bytes):
        self.headers, self.body = headers, body

    def __enter__(self) -> "Fetched":
        return self

    def __exit__(self, *_: Any) -> None:
        """Nothing is left open."""

    def info(self) -> Any:
        """The headers."""
        return self.headers

    def read(self) -> bytes:
        """The body."""
        return self.body


def fetch(opener: urllib.request.OpenerDirector, request: Any, timeout: float) -> Fetched:
    """A picture of at most LARGEST bytes within SECONDS; a busy server is asked again.

    Raises Refused for a larger one, TimeoutError for a slower one, and what `opener` raises.
    """
    ends = time.monotonic() + SECONDS
    _mine.connected = connected = []  # type: ignore[var-annotated]
    _mine.late = late = threading.Event()

    def end() -> None:
        """Cut the connections: a server that sends a byte now and then never runs into the time-out of a socket."""
        late.set()
        for one in connected:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself

    watch = threading.Timer(SECONDS, end)
    watch.daemon = True
    watch.start()
    try:
        return _fetch(opener, request, timeout, ends)
    finally:
        watch.cancel()
        del _mine.connected
        for one in connected:
            one.close()
        if late.is_set():  # whatever the cut connections looked like: an error, or the end of an answer
            raise TimeoutError(f"timed out: not here after {SECONDS:.0f} seconds")


def _fetch(opener: urllib.request.OpenerDirector, request: Any, timeout: float, ends: float) -> Fetched:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opener.open(request, timeout=timeout) as reply:
                if int(reply.headers.get("Content-Length") or 0) > LARGEST:
                    raise Refused(f"{int(reply.headers['Content-Length']):,} bytes were announced")
                return Fetched(reply.headers, _body(reply, ends))
        except urllib.error.HTTPError as error:
            if error.code not in BUSY or attempt == ATTEMPTS:
                raise
            wait = asked_to_wait(error.headers.get("Retry-After", ""))
            if wait > LONGEST_WAIT or time.monotonic() + wait > ends:
                raise
            error.close()
            time.sleep(max(wait, 0.5 * attempt))
    raise AssertionError("the last attempt returns or raises")


def _body(reply: Any, ends: float) -> bytes:
    parts, size = [], 0
    while chunk := reply.read1(1 << 16):
        parts.append(chunk)
        size += len(chunk)
        if size > LARGEST:
            raise Refused(f"more than {LARGEST:,} bytes")
        if time.monotonic() > ends:
            raise TimeoutError(f"timed out: not here after {SECONDS:.0f} seconds")
    announced = reply.headers.get("Content-Length")
    if announced is not None and size < int(announced):
        raise http.client.IncompleteRead(b"", int(announced) - size)
    return b"".join(parts)


def asked_to_wait(retry_after: str) -> float:
    """Seconds that a Retry-After header means: a number, or a date; 0 for anything else."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    date = parsedate_tz(retry_after)
    return max(0.0, mktime_tz(date) - time.time()) if date else 0.0


if __name__ == "sitecustomize":
    try:
        install(os.environ.get(ALLOW_PRIVATE) == "1")
    except BaseException:  # Python goes on without a sitecustomize that fails; img2dataset must not
        traceback.print_exc()
        os._exit(86)
