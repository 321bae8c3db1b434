"""Certificates for tests, made on the spot."""

import datetime as dt
import hashlib
from pathlib import Path

import bcrypt
import trustme

_PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Pki:
    """An authority, and what it issues written into *directory*."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)

    def issue(self, name: str, *identities: str, expired: bool = False) -> "Pair":
        """Write ``<name>.pem`` and ``<name>.key`` for *identities*."""
        until = _PAST if expired else None
        leaf = self.authority.issue_cert(
            *identities, not_after=until, not_before=_PAST - dt.timedelta(days=9)
        )
        pair = Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        pair.certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        pair.key.write_bytes(leaf.private_key_pem.bytes())
        return pair


class Pair:
    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key


def hashed(password: str) -> str:
    """Return a bcrypt hash, as cheap as they come."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
