"""Hosts and addresses: which the explorer's guard knows, and which cannot be listened on."""

import errno
import socket

import pytest

from ance_tele.console.errors import UserError
from ance_tele.explorer.guard import is_loopback, known_host, refusal
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
    assert (refusal("GET", {"host": host}, bound) is None) is known


def test_which_addresses_are_of_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "lab.example")))


def test_an_address_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(self: object, address: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(socket.socket, "bind", unavailable)
    with pytest.raises(UserError, match=r"192\.0\.2\.1 port 80 cannot be had \(Cannot assign requested address\)"):
        listen("192.0.2.1", 80)
