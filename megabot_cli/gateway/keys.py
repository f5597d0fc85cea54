"""Tokens that the gateway gives and recognises: JWT, HS256, two kinds."""

from __future__ import annotations

import secrets
from typing import Literal

import jwt
import msgspec

from megabot_cli.errors import BadConfiguration
from megabot_cli.gateway.accounts import User
from megabot_cli.gateway.ledger import Ledger

TokenKind = Literal["access", "refresh"]

KEY_NAME = "token_key"
FLAT_TOKEN_NAME = "flat_token"  # noqa: S105  not one itself
_KEY_BYTES = 32  # as long as the hash, RFC 7518, 3.2
_ALGORITHM = "HS256"


class Claims(msgspec.Struct, frozen=True):
    """What a token says of its bearer. `iat` and `exp` are Unix seconds."""

    sub: str
    user_id: str
    kind: TokenKind
    jti: str
    iat: float
    exp: float


class TokenRefused(Exception):
    """The token is not good; the text says why and holds nothing of it."""


class Keys:
    """Signs tokens and verifies them. Whoever has the key can make tokens."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _KEY_BYTES:
            raise BadConfiguration(f"A token key has at least {_KEY_BYTES} bytes.")
        self._secret = secret

    @classmethod
    def in_memory(cls) -> Keys:
        """A key of its own: its tokens end with this process."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def open(cls, ledger: Ledger) -> Keys:
        """The key in the ledger, made there at the first start."""
        secret, _ = ledger.secret(KEY_NAME, lambda: secrets.token_hex(_KEY_BYTES))
        try:
            return cls(bytes.fromhex(secret))
        except ValueError as fault:
            raise BadConfiguration(f"The token key in the data file: {fault}.") from fault

    def issue(self, user: User, kind: TokenKind, *, lifetime_s: float, now: float) -> str:
        claims = Claims(
            sub=user.name,
            user_id=user.user_id,
            kind=kind,
            jti=secrets.token_hex(16),
            iat=round(now, 3),
            exp=round(now + lifetime_s, 3),
        )
        return jwt.encode(msgspec.to_builtins(claims), self._secret, algorithm=_ALGORITHM)

    def read(self, token: str, kind: TokenKind, *, now: float) -> Claims:
        """The claims of a good token. Raises TokenRefused for any other."""
        try:
            decoded = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                # Expiry is judged below, by the time that was handed in.
                options={"verify_exp": False, "verify_iat": False},
            )
            claims = msgspec.convert(decoded, Claims)
        # Beside its own errors PyJWT lets through what odd characters and numbers cause.
        except (
            jwt.InvalidTokenError,
            msgspec.ValidationError,
            ValueError,
            RecursionError,
        ) as fault:
            raise TokenRefused("Invalid token provided") from fault
        if claims.kind != kind:
            raise TokenRefused(f"This token is no {kind} token")
        if claims.exp <= now:
            raise TokenRefused("The token has expired")
        return claims
