"""Certificates for tests, made on the spot."""

import datetime as dt
import hashlib
from pathlib import Path

import bcrypt
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Pki:
    """An authority, and what it issues written into *directory*."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)

    def issue(
        self,
        name: str,
        *identities: str,
        expired: bool = False,
        until: dt.datetime | None = None,
    ) -> "Pair":
        """Write ``<name>.pem`` and ``<name>.key`` for *identities*."""
        leaf = self.authority.issue_cert(
            *identities,
            not_after=_PAST if expired else until,
            not_before=_PAST - dt.timedelta(days=9),
        )
        pair = self._pair(name)
        pair.certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        pair.key.write_bytes(leaf.private_key_pem.bytes())
        return pair

    def short_lived(self, name: str, *identities: str, seconds: float) -> "Pair":
        """Write a pair that ends in *seconds* or, as certificates count whole ones, earlier."""
        return self.issue(
            name, *identities, until=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        )

    def with_uri(self, name: str, uri: str) -> "Pair":
        """Write a pair whose only name is *uri*."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = x509.load_pem_x509_certificate(self.authority.cert_pem.bytes())
        signer = serialization.load_pem_private_key(self.authority.private_key_pem.bytes(), None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_PAST)
            .not_valid_after(dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True
            )
            .sign(signer, hashes.SHA256())
        )
        pair = self._pair(name)
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair

    def _pair(self, name: str) -> "Pair":
        return Pair(self.directory / f"{name}.pem", self.directory / f"{name}.key")


class Pair:
    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key


def hashed(password: str, cost: int = 4) -> str:
    """Return a bcrypt hash, as cheap as they come."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
