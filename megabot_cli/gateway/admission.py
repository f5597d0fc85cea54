"""Whose connection it is: the credential of a request, and what is wrong with it."""

from __future__ import annotations

import time

import msgspec
from aiohttp import web

from megabot_cli.gateway.accounts import API_KEY_PREFIX, User, Users, key_hash
from megabot_cli.gateway.keys import Keys, TokenRefused


class Admitted(msgspec.Struct, frozen=True):
    """Whose connection it is, and until when (Unix seconds) where a token says so."""

    user: User
    until: float | None = None
    key_hash: str | None = None  # of the API key, where it was one


class CredentialRefused(Exception):
    """Nobody we know; the text says why and holds nothing of the credential."""


class Admission:
    """Accepts a JWT or an API key by `Authorization: Bearer`, `X-API-Key` or `?token=`.

    The first of the three that is there decides; a browser can only use the last. An
    `Authorization` of another scheme is somebody else's, a proxy's say. Two different tokens in
    header and query are refused: nobody can tell which of them is meant.
    """

    def __init__(self, users: Users, keys: Keys) -> None:
        self._users = users
        self._keys = keys

    def admit(self, request: web.Request) -> Admitted:
        """Whom a request is from. Raises CredentialRefused."""
        credential = _credential(request)
        user = self._users.by_api_key(credential)
        if user is not None:
            return Admitted(user, key_hash=key_hash(credential))
        if credential.startswith(API_KEY_PREFIX):
            raise CredentialRefused("Invalid API key provided")
        return self._bearer(credential)

    def still_holds(self, admitted: Admitted) -> bool:
        """Whether who was admitted would be again, but for the time that has passed."""
        if admitted.key_hash is not None:
            return self._users.by_key_hash(admitted.key_hash) == admitted.user
        return self._users.by_name(admitted.user.name) == admitted.user

    def _bearer(self, token: str) -> Admitted:
        try:
            claims = self._keys.read(token, "access", now=time.time())
        except TokenRefused as fault:
            raise CredentialRefused(str(fault)) from fault
        user = self._users.by_name(claims.sub)
        if user is None or user.user_id != claims.user_id:
            raise CredentialRefused("The user of this token is gone")
        return Admitted(user, claims.exp)


def _credential(request: web.Request) -> str:
    authorization = request.headers.get("Authorization", "")
    bearer, in_query = _bearer_of(authorization), request.query.get("token", "")
    if bearer and in_query and bearer != in_query:
        raise CredentialRefused("Authorization and ?token= carry different tokens: send one")
    credential = bearer or request.headers.get("X-API-Key") or in_query
    if not credential:
        raise CredentialRefused(
            "Authorization must be: Bearer, then a token or API key"
            if authorization
            else "No token or API key provided"
        )
    return credential


def _bearer_of(authorization: str) -> str:
    scheme, _, credential = authorization.strip().partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""
