"""Whether bytes are text, as quickly as Python can say it."""

from __future__ import annotations


def is_utf8(data: bytes) -> bool:
    """Whether bytes are what a text message may hold; for plain ASCII one glance tells."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def all_ascii(batch: list[bytes]) -> bool:
    """Whether there is nothing to look for in any of them."""
    return all(map(bytes.isascii, batch))


def up_to_what_is_no_text(batch: list[bytes]) -> tuple[list[bytes], bool]:
    """What may be looked at (RFC 6455, 7.1.7: nothing behind bytes that are no UTF-8), and
    whether anything may not."""
    for place, data in enumerate(batch):
        if not is_utf8(data):
            return batch[:place], True
    return batch, False
