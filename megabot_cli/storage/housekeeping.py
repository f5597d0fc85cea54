"""What is done after a segment was sealed, beside the writing: compress it, let old ones go."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from megabot_cli.config.schema import RecordingSettings
from megabot_cli.storage import index_file
from megabot_cli.storage.compressing import UNFINISHED, compress
from megabot_cli.storage.retention import kept_segments, outlived, remove

_LEFT_BEHIND_S = 3600.0


class Housekeeping:
    """Works on a thread of its own, one segment after the other.

    `folder` is where all recordings are. What fails is left as it was: a segment that is not
    compressed, or not removed yet, is no fault of the recording.
    """

    def __init__(self, folder: Path, settings: RecordingSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._sealed: list[Path] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def has_work(self) -> bool:
        settings = self._settings
        keeps_all = settings.keep_days is None and settings.keep_bytes is None
        return settings.compress != "none" or not keeps_all

    def begin(self) -> None:
        """What can be done before anything is sealed."""
        if self.has_work:
            self._start()

    def sealed(self, path: Path) -> None:
        """A segment was sealed."""
        if self.has_work:
            with self._lock:
                self._sealed.append(path)
            self._start()

    def finish(self, timeout_s: float | None = None) -> None:
        """Wait for what is under way."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(
                target=self._work, name="recorder: housekeeping", daemon=True
            )
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                path = self._sealed.pop(0) if self._sealed else None
            if path is not None and self._settings.compress == "zstd":
                with contextlib.suppress(OSError):
                    compress(path)
            self._retain()
            with self._lock:
                if not self._sealed:
                    self._thread = None
                    return

    def _retain(self) -> None:
        settings = self._settings
        with contextlib.suppress(OSError):
            for left in self._folder.glob(f"*/*{UNFINISHED}"):
                # What another recorder is at now is young.
                if time.time() - left.lstat().st_mtime > _LEFT_BEHIND_S:
                    left.unlink(missing_ok=True)
            for left in self._folder.glob(f"*/{index_file.UNFINISHED}"):
                if index_file.is_left_behind(left):
                    left.unlink(missing_ok=True)
            if settings.keep_days is not None or settings.keep_bytes is not None:
                segments = kept_segments(self._folder)
                remove(
                    outlived(segments, keep_days=settings.keep_days, keep_bytes=settings.keep_bytes)
                )
