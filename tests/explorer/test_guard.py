"""The explorer's guard: hosts and addresses that it knows, pages of other sites, limits; where it cannot listen."""

import errno
import socket
from typing import Any

import pytest
from addresses import HOME
from fastapi.testclient import TestClient

from ance_tele.console.errors import UserError
from ance_tele.explorer import guard
from ance_tele.explorer.app import make_app
from ance_tele.explorer.guard import AT_ONCE, BURST, PER_SECOND, Limits, is_loopback, known_host, refusal
from ance_tele.explorer.serve import listen


@pytest.mark.parametrize(
    ("host", "bound", "known"),
    [
        ("localhost:8000", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]:8000", "::1", True),
        ("LOCALHOST", "127.0.0.1", True),
        ("", "127.0.0.1", False),
        ("evil.example", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("192.168.1.5", "127.0.0.1", False),
        ("192.168.1.5:80", "192.168.1.5", True),
        ("192.168.1.5:80", "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        ("127.0.0.1", "192.168.1.5", False),
        ("lab.example:8000", "lab.example", True),
    ],
)
def test_which_hosts_are_known(host: str, bound: str, known: bool) -> None:
    assert known_host(host, bound) is known
    assert (refusal("GET", "/", {"host": host}, bound) is None) is known


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, True),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, False),  # another port of this machine
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:8000"}, True),
    ],
)
def test_what_other_sites_embed_is_not_shown(headers: dict[str, str], shown: bool) -> None:
    found = refusal("GET", "/api/run", {"host": "127.0.0.1:8000", **headers}, "127.0.0.1")
    assert found == (None if shown else (403, "This is shown on this server's own page only."))


def test_so_many_requests_at_once_and_in_a_second() -> None:
    now = [0.0]
    limits = Limits(lambda: now[0])
    assert [limits.enter() for _ in range(AT_ONCE)] == [None] * AT_ONCE
    assert limits.enter() == "32 requests are being answered already; try again when they are."
    limits.leave()
    assert limits.enter() is None
    for _ in range(AT_ONCE):
        limits.leave()
    for _ in range(int(BURST) - AT_ONCE - 1):
        assert limits.enter() is None
        limits.leave()
    assert limits.enter() == "More than 50 requests came in a second; wait a moment and try again."
    now[0] += 1 / PER_SECOND
    assert limits.enter() is None
    limits.leave()
    assert "in a second" in str(limits.enter())
    now[0] += 1e6
    assert [limits.enter() for _ in range(AT_ONCE)] == [None] * AT_ONCE


def test_the_application_limits_what_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BURST", 3.0)
    monkeypatch.setattr(guard, "PER_SECOND", 1e-9)
    nothing: Any = None
    client = TestClient(make_app({}, nothing, nothing, nothing, "127.0.0.1"), base_url=HOME)
    forged = [client.get("/", headers={"Host": "evil.example"}).status_code for _ in range(5)]
    found = [client.get("/explorer.css") for _ in range(4)]
    assert forged == [421] * 5 and [one.status_code for one in found] == [200, 200, 200, 429]
    assert found[3].json()["error"].startswith("More than") and found[3].headers["retry-after"] == "1"
    assert {name: found[3].headers[name] for name in guard.HEADERS} == guard.HEADERS


def test_which_addresses_are_of_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "lab.example")))


def test_an_address_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(self: object, address: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket.socket, "bind", unavailable)
    with pytest.raises(UserError, match=r"192\.0\.2\.1 port 80 cannot be had \(Cannot assign requested address\)"):
        listen("192.0.2.1", 80)
