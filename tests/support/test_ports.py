"""A kept port belongs to who names it, and to nobody who asks for any."""

from __future__ import annotations

import socket
import struct

import pytest

from tests.support.ports import kept_port

LOOPBACK = "127.0.0.1"
IP_LOCAL_PORT_RANGE = 51  # of <linux/in.h>; Python has no name for it


def test_servers_have_a_kept_port_one_after_the_other_and_between_them_it_refuses() -> None:
    with kept_port() as port:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((LOOPBACK, port))
            with (
                socket.create_server((LOOPBACK, port)),
                socket.create_connection((LOOPBACK, port)) as client,
            ):
                assert client.getpeername() == (LOOPBACK, port)


def test_who_asks_for_any_port_is_never_given_a_kept_one() -> None:
    with kept_port() as port, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Any port, of those from this one to this one.
            other.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=HH", port, port))
        except OSError:
            pytest.skip("this system cannot be asked for a port within a range (Linux 6.3 can)")
        with pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, 0))
