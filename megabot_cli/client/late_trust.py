"""The system's certificates, read when somebody is to be trusted by them, not at every start.

aiohttp makes its default TLS context while it is imported, and OpenSSL takes 30 to 100 ms to
read a system's certificates: a fifth of what `send` and `relay` need to start, and most of them
talk to a `ws://` on this machine. Between `ssl` and aiohttp there is no setting for that.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_READS_CERTIFICATES = "aiohttp.connector"


def read_certificates_late() -> None:
    """Have aiohttp's default context read certificates late. Call it before aiohttp is imported;
    afterwards it changes nothing."""
    if _READS_CERTIFICATES not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds that one module, once, as Python itself does."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _READS_CERTIFICATES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """A module's own loader, around whose work the default context is a late one."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        import ssl

        read = ssl.SSLContext.load_default_certs

        def read_late(
            context: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH
        ) -> None:
            _before_its_first_connection(context, lambda: read(context, purpose))

        ssl.SSLContext.load_default_certs = read_late  # type: ignore[method-assign, assignment]
        try:
            self._loader.exec_module(module)
        finally:
            ssl.SSLContext.load_default_certs = read  # type: ignore[method-assign]


def _before_its_first_connection(context: Any, read: Callable[[], None]) -> None:
    """Call `read` when `context` is first asked to wrap anything; both ways go through it."""

    def late(name: str) -> Callable[..., Any]:
        def wrap(*arguments: Any, **options: Any) -> Any:
            if "wrap_bio" in vars(context):
                del context.wrap_bio, context.wrap_socket  # the class's own are seen again
                read()
            return getattr(context, name)(*arguments, **options)

        return wrap

    context.wrap_bio, context.wrap_socket = late("wrap_bio"), late("wrap_socket")
