"""Programs of others that relay WebSockets, started as their manuals say, one core each.

Found on PATH, or where the variables NGINX, WEBSOCAT, MITMDUMP and WSCAT say; what is not found
is named and left out. Debian has nginx, PyPI mitmproxy, npm wscat; websocat comes from its
authors.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yarl import URL

NGINX_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""


def find(name: str) -> str | None:
    """Where a program is, or None."""
    return os.environ.get(name.upper()) or shutil.which(
        name, path=os.environ["PATH"] + ":/usr/sbin"
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def _command(name: str, program: str, upstream: URL, port: int, folder: str) -> list[str]:
    http = str(upstream.with_scheme("http").origin())
    if name == "nginx":
        config = Path(folder, "nginx.conf")
        text = NGINX_CONFIG.format(folder=folder, port=port, upstream=http)
        config.write_text(text, encoding="utf-8")
        return [program, "-p", folder, "-c", str(config)]
    if name == "websocat":
        return [program, "-E", f"ws-l:127.0.0.1:{port}", str(upstream)]
    flow = str(Path(folder, "flow"))
    listen = ["--listen-host", "127.0.0.1", "-p", str(port)]
    return [
        program,
        "-q",
        "--mode",
        f"reverse:{http}",
        *listen,
        "-w",
        flow,
        "--set",
        f"confdir={folder}",
    ]


@contextmanager
def running(name: str, program: str, upstream_url: str) -> Iterator[tuple[int, str]]:
    """Start a peer in front of the upstream; gives its pid and URL once it listens."""
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = _command(name, program, URL(upstream_url), port, folder)
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            _wait_for(port, process)
            yield process.pid, f"ws://127.0.0.1:{port}/ws"
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")
