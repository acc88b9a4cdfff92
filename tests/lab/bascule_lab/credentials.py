"""Keys, certificates and secrets of the lab: random, made once, kept while the lab lives, readable by root only."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bascule_lab import paths
from bascule_lab.topology import Host

PASSWORDS = ("app_password", "probe_password", "data_password", "replication_password", "smoke_token", "pve_token")
VALID_DAYS = 90


def write_private(path: Path, data: bytes) -> None:
    """Create a 0600 file that is never readable by others, not even for a moment, and never half there."""
    paths.private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)
    os.replace(temporary, path)


def tsig_key_file(name: str, secret: str) -> str:
    """The same key as `nsupdate -k` and bind9 read it."""
    return f'key "{name}" {{\n    algorithm hmac-sha256;\n    secret "{secret}";\n}};\n'


def make_secrets(directory: Path) -> None:
    for name in PASSWORDS:
        if not (directory / name).exists():
            # Proxmox writes token secrets as UUIDs; the others are just long.
            value = _uuid() if name == "pve_token" else secrets.token_urlsafe(24)
            write_private(directory / name, value.encode())
    if not (directory / "tsig.secret").exists():
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        write_private(directory / "tsig.key", tsig_key_file("bascule", secret).encode())
        write_private(directory / "tsig.secret", secret.encode())


def _uuid() -> str:
    raw = secrets.token_hex(16)
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


# --- SSH --------------------------------------------------------------------------------------------------------------
def make_ssh_key(path: Path, comment: str) -> None:
    if path.exists():
        return
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    write_private(path.with_name(path.name + ".pub"), public + f" {comment}\n".encode())
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ),
    )


def known_hosts_text(keys: Iterable[tuple[str, str, str]]) -> str:
    """Lines of known_hosts from (name, address, public key line)."""
    return "".join(f"{name},{address} {' '.join(public.split()[:2])}\n" for name, address, public in keys)


def make_ssh(directory: Path, hosts: Iterable[tuple[str, str]]) -> None:
    """The controller's key, a host key each, and known_hosts over all of them. Hosts are (name, address)."""
    make_ssh_key(directory / "controller", "bascule-lab")
    lines = []
    for name, address in hosts:
        path = directory / "hosts" / name
        make_ssh_key(path, name)
        lines.append((name, address, path.with_name(path.name + ".pub").read_text()))
    write_private(directory / "known_hosts", known_hosts_text(lines).encode())


# --- certificates -----------------------------------------------------------------------------------------------------
def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _signing_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def make_authority(directory: Path) -> None:
    """ECDSA P-256, as Ed25519 certificates break libpq's SCRAM channel binding."""
    if (directory / "ca.crt").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("Bascule lab CA", _name("Bascule lab CA"), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_signing_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(directory / "ca.key", _pem(key))
    write_private(directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))


def make_certificate(directory: Path, name: str, alternatives: Iterable[str]) -> None:
    """hosts/<name>.{crt,key}, signed by the lab's authority, for these names and addresses."""
    target = directory / "hosts" / f"{name}.crt"
    if target.exists():
        return
    authority = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not ECDSA")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(name, authority.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName([_alternative(text) for text in alternatives]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signing_usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(directory / "hosts" / f"{name}.key", _pem(key))
    write_private(target, certificate.public_bytes(serialization.Encoding.PEM))


def _alternative(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


# --- WireGuard --------------------------------------------------------------------------------------------------------
def make_wireguard(directory: Path, name: str) -> None:
    path = directory / f"{name}.key"
    if path.exists():
        return
    key = x25519.X25519PrivateKey.generate()
    write_private(
        path.with_suffix(".pub"),
        base64.b64encode(key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)),
    )
    write_private(
        path,
        base64.b64encode(
            key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        ),
    )


def alternatives_of(host: Host) -> tuple[str, ...]:
    # The kind alone, too: clients ask for `db` and leave the domain to their resolver.
    return (host.name, host.kind, f"{host.kind}.{host.domain}", host.address, *host.san)


def make_all(hosts: Iterable[Host]) -> None:
    """Everything the lab's hosts need; what is there already stays."""
    hosts = list(hosts)
    make_secrets(paths.SECRETS)
    make_authority(paths.CA)
    make_ssh(paths.SSH, [(host.name, host.address) for host in hosts])
    for host in hosts:
        make_certificate(paths.CA, host.name, alternatives_of(host))
        if host.kind == "gateway":
            make_wireguard(paths.SECRETS / "wireguard", host.name)
