"""Refusal of requests that other web sites or machines could forge; the page is for one user."""

import ipaddress
import socket
from collections.abc import Mapping

# Most bytes of a request's body: enough for 2,000 characters escaped in JSON.
MOST_BYTES = 65536

# Only the page's own two files are loaded or executed; corpus text could not be, even as markup.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
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


def refusal(method: str, headers: Mapping[str, str], bound: str) -> tuple[int, str] | None:
    """Return status and sentence for a refused request; None for an accepted one."""
    host = headers.get("host", "")
    if not known_host(host, bound):
        return 421, f"This server is not '{host[:80]}'; open it by the address that it was started with."
    if method == "GET":
        return None
    if method != "POST":
        return 405, f"The method {method[:20]} is not for this server; it takes GET and POST."
    if headers.get("origin", "") != f"http://{host}":
        return 403, "A question or verdict is taken from this server's own page only; open it and use that."
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, "The body must be JSON, with the content type application/json."
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return 411, "The request does not say how long it is; send its Content-Length."
    if len(length) > 9 or int(length) > MOST_BYTES:
        return 413, f"The request has more than {MOST_BYTES:,} bytes; shorten it."
    return None


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
