"""What is read of the certificate that a listener shows."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from megabot_cli.relay.own_certificate import validity_of
from tests.support.certificates import (
    Certificate,
    make_aged_certificate,
    make_authority,
    make_certificate,
    with_chain,
)


def shown(certificate: Certificate, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if most is not None:
        context.maximum_version = most
    return context


def in_days(context: ssl.SSLContext) -> tuple[float, float]:
    """When it starts and ends, from now."""
    validity = validity_of(context)
    assert validity is not None
    now = time.time()
    return (validity.starts_at - now) / 86400, (validity.ends_at - now) / 86400


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_dates_are_those_of_the_certificate(tmp_path: Path, most: ssl.TLSVersion) -> None:
    made = make_aged_certificate(tmp_path, "127.0.0.1", age_days=3, left_days=4)
    assert in_days(shown(made, most)) == pytest.approx((-3, 4), abs=0.01)


def test_one_that_has_ended_or_signs_others_is_read_too(tmp_path: Path) -> None:
    ended = make_aged_certificate(tmp_path, "127.0.0.1", age_days=9, left_days=-2)
    assert in_days(shown(ended)) == pytest.approx((-9, -2), abs=0.01)
    signs = make_certificate(tmp_path, "127.0.0.1")
    assert in_days(shown(signs)) == pytest.approx((0, 2), abs=0.01)


def test_a_chain_ends_with_the_first_in_it_that_does(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    long = authority.issue("127.0.0.1", days=30)
    assert in_days(shown(long)) == pytest.approx((0, 30), abs=0.01)
    assert in_days(shown(with_chain(long, authority))) == pytest.approx((0, 2), abs=0.01)
    short = with_chain(authority.issue("127.0.0.1", days=1), authority)
    assert in_days(shown(short)) == pytest.approx((0, 1), abs=0.01)
