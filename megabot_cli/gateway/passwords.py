"""Passwords as salted scrypt hashes (RFC 7914): `scrypt$n$r$p$salt$hash`, the last two base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os

# 2**14 with r=8 takes 16 MiB and some 50 ms: dear for a guesser, unnoticed by a person.
COST = 2**14
_BLOCK_SIZE = 8
_PARALLEL = 1
_SALT_BYTES = 16
_HASH_BYTES = 32
_MOST_MEMORY_BYTES = 128 * 1024 * 1024


def hash_password(password: str, *, cost: int = COST) -> str:
    salt = os.urandom(_SALT_BYTES)
    digest = _scrypt(password, salt, cost, _BLOCK_SIZE, _PARALLEL, _HASH_BYTES)
    fields = (base64.b64encode(salt).decode(), base64.b64encode(digest).decode())
    return f"scrypt${cost}${_BLOCK_SIZE}${_PARALLEL}${'$'.join(fields)}"


def matches(password: str, stored: str) -> bool:
    """Whether `stored` was made from `password`. ValueError when `stored` is no hash of ours."""
    cost, block_size, parallel, salt, digest = _parse(stored)
    found = _scrypt(password, salt, cost, block_size, parallel, len(digest))
    return hmac.compare_digest(found, digest)


def is_password_hash(stored: str) -> bool:
    try:
        _parse(stored)
    except ValueError:
        return False
    return True


def _parse(stored: str) -> tuple[int, int, int, bytes, bytes]:
    fields = stored.split("$")
    if len(fields) != 6 or fields[0] != "scrypt":
        raise ValueError("not a scrypt hash")
    cost, block_size, parallel = (int(field) for field in fields[1:4])
    if 128 * cost * block_size > _MOST_MEMORY_BYTES or min(cost - 1, block_size, parallel) < 1:
        raise ValueError("scrypt parameters out of bounds")
    try:
        salt, digest = (base64.b64decode(field, validate=True) for field in fields[4:])
    except binascii.Error as fault:
        raise ValueError("not base64") from fault
    if len(digest) < 16:
        raise ValueError("the hash is too short")
    return cost, block_size, parallel, salt, digest


def _scrypt(
    password: str, salt: bytes, cost: int, block_size: int, parallel: int, size: int
) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=cost,
        r=block_size,
        p=parallel,
        dklen=size,
        maxmem=2 * _MOST_MEMORY_BYTES,
    )
