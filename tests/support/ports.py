"""A port to come back to: nobody else is given it by chance while a test is between two programs.

Many programs run beside each other in a suite, and each asks for any port that is free.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """A loopback port for whoever names it, one after the other, for as long as this is open.

    It is bound and never listened on: the system gives it to nobody who asks for any port, a
    server that says SO_REUSEADDR (all do) may listen there, and until one does who connects
    is refused.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]
