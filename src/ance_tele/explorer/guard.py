"""Refusal of requests that other web sites or machines could forge; the page is for one user."""

import ipaddress
import socket
import time
from collections.abc import Callable, Mapping

# Most bytes of a request's body, and of its address: enough for 2,000 characters escaped in JSON, or in a URL.
MOST_BYTES = 65536
MOST_OF_URL = 32768

# Requests that are answered at one time, in a second, and in one burst: many times what the page needs.
AT_ONCE, PER_SECOND, BURST = 32, 50.0, 200.0

# Only the page's own two files are loaded or executed; corpus text could not be, even as markup.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine only."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def known_host(header: str, bound: str) -> bool:
    """Return whether a Host header names this server.

    Against DNS rebinding, where a web site's name resolves to this machine so that its scripts share the page's origin:
    only names of this machine and the bound address are accepted; if bound to all addresses, any literal IP address.
    """
    name = _name(header)
    if name in ("localhost", bound.lower()):
        return True
    address, listens = _address(name), _address(bound)
    if address is None:
        return listens is not None and listens.is_unspecified and name == socket.gethostname().lower()
    if listens is not None and listens.is_unspecified:
        return True
    return address.is_loopback and is_loopback(bound)


class Limits:
    """How many requests are answered at one time and in a second; for one thread, the event loop's.

    Refused requests are not counted, so that no other web site can use up what the page is allowed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._running, self._left, self._since = clock, 0, BURST, clock()

    def enter(self) -> str | None:
        """Count a request, which :meth:`leave` ends; return a sentence, and count nothing, if there are too many."""
        now = self._clock()
        self._left, self._since = min(BURST, self._left + (now - self._since) * PER_SECOND), now
        if self._running >= AT_ONCE:
            return f"{AT_ONCE} requests are being answered already; try again when they are."
        if self._left < 1:
            return f"More than {PER_SECOND:.0f} requests came in a second; wait a moment and try again."
        self._running, self._left = self._running + 1, self._left - 1
        return None

    def leave(self) -> None:
        """End a request that was counted."""
        self._running -= 1


def refusal(method: str, url: str, headers: Mapping[str, str], bound: str) -> tuple[int, str] | None:
    """Return status and sentence for a refused request; None for an accepted one."""
    host = headers.get("host", "")
    if not known_host(host, bound):
        return 421, f"This server is not '{host[:80]}'; open it by the address that it was started with."
    if len(url) > MOST_OF_URL:
        return 414, f"The address has more than {MOST_OF_URL:,} characters; shorten it."
    if method == "GET":
        return None if _of_this_page(headers, host) else (403, "This is shown on this server's own page only.")
    if method != "POST":
        return 405, f"The method {method[:20]} is not for this server; it takes GET and POST."
    if headers.get("origin", "") != f"http://{host}":
        return 403, "A question or verdict is taken from this server's own page only; open it and use that."
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, "The body must be JSON, with the content type application/json."
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        return 411, "The request does not say how long it is; send its Content-Length."
    if len(length) > 9 or int(length) > MOST_BYTES:
        return 413, f"The request has more than {MOST_BYTES:,} bytes; shorten it."
    return None


def _of_this_page(headers: Mapping[str, str], host: str) -> bool:
    """Return whether a GET is no part of another site's page: browsers say so; a link to this page may be followed."""
    if headers.get("sec-fetch-mode", "") == "navigate" and headers.get("sec-fetch-dest", "document") == "document":
        return True
    own = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    return own and headers.get("origin", f"http://{host}") == f"http://{host}"


def _name(header: str) -> str:
    """Return the name or address of a Host header, without port and brackets, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower().rstrip(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
