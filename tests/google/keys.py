"""RSA keys, made once for each process: making one takes a tenth of a second."""

import functools
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.crypt import RSASigner


@functools.cache
def private_key(name: str) -> str:
    """Return the private key of somebody, in PEM."""
    return (
        _key(name)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


@functools.cache
def public_key(name: str) -> str:
    """Return the public key of somebody, in PEM."""
    key = _key(name).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def sign(name: str, claims: dict[str, Any]) -> str:
    """Return a JWT with claims that somebody has signed."""
    signer = RSASigner.from_string(private_key(name), key_id=name)
    token: bytes = jwt.encode(signer, claims)
    return token.decode()


def read(name: str, token: str) -> dict[str, Any]:
    """Return the claims of a JWT that somebody has signed, whatever its times.

    Raises:
        ValueError: It is not a JWT, or somebody else signed it.
    """
    claims: dict[str, Any] = jwt.decode(token, certs=public_key(name), clock_skew_in_seconds=10**9)
    return claims


def read_unverified(token: str) -> dict[str, Any]:
    """Return the claims of a JWT, whoever signed it."""
    claims: dict[str, Any] = jwt.decode(token, verify=False)
    return claims


@functools.cache
def _key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
