"""Decides which places in Cloud Storage a call may name: whoever can reach the function can send it a payload."""

import os
import re
from dataclasses import dataclass
from typing import Final

from gcf_pipes._errors import PipesRequestError

BUCKETS_VARIABLE: Final = "GCF_PIPES_BUCKETS"
KEY_PREFIX_VARIABLE: Final = "GCF_PIPES_KEY_PREFIX"
MAX_KEY_BYTES: Final = 1000
"""Leaves room for a chunk's number. Source: https://cloud.google.com/storage/docs/objects#naming (1 to 1,024 bytes)."""
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
"""Source: https://cloud.google.com/storage/docs/buckets#naming (lowercase letters, digits, `-`, `_` and `.`)."""


@dataclass(frozen=True)
class AllowedLocations:
    """The buckets and the base prefix that calls may name.

    Attributes:
        buckets: Names of buckets, or None for any.
        key_prefix: The base prefix, without a slash at its end, or None for any.
    """

    buckets: frozenset[str] | None = None
    key_prefix: str | None = None

    @classmethod
    def from_environment(cls) -> "AllowedLocations":
        """Read `GCF_PIPES_BUCKETS`, names separated by commas, and `GCF_PIPES_KEY_PREFIX`; empty is as unset.

        Raises:
            ValueError: A variable is set, and names no bucket or no prefix: it does not admit any.
        """
        buckets, key_prefix = (os.environ.get(name, "").strip() for name in (BUCKETS_VARIABLE, KEY_PREFIX_VARIABLE))
        names = frozenset(filter(None, map(str.strip, buckets.split(","))))
        if buckets and not (names and all(map(_BUCKET_NAME.fullmatch, names))):
            raise ValueError(
                f"Expected {BUCKETS_VARIABLE} to be names of buckets, separated by commas, got {buckets!r}. "
                "Set it to the bucket of your Dagster resource, without gs://, or unset it."
            )
        if key_prefix and not _is_plain(key_prefix.strip("/")):
            raise ValueError(
                f"Expected {KEY_PREFIX_VARIABLE} to be plain names with single slashes between them, "
                f"got {key_prefix!r}. Set it to `key_prefix` of your Dagster resource, or unset it."
            )
        return cls(names or None, key_prefix.strip("/") or None)

    def check(self, bucket: str, key: str, where: str) -> None:
        """Refuse a place that a call may not name, without telling which it may.

        Args:
            bucket: The name of the bucket.
            key: The name or the prefix of objects.
            where: The params that name it, for the error text.

        Raises:
            PipesRequestError: The function does not accept the bucket or the key, or it is not the name of one.
        """
        if not _BUCKET_NAME.fullmatch(bucket):  # google-cloud-storage puts it into the URL's path as it is
            raise PipesRequestError(f"Expected 'bucket' in the {where} params to be the name of a bucket.")
        if self.buckets is not None and bucket not in self.buckets:
            raise PipesRequestError(
                f"Expected 'bucket' in the {where} params to be one that this function accepts. Let `bucket` of the "
                f"Dagster resource and {BUCKETS_VARIABLE} in the function's environment agree."
            )
        if len(key.encode("utf-8", errors="replace")) > MAX_KEY_BYTES:
            raise PipesRequestError(f"Expected the key in the {where} params to have at most {MAX_KEY_BYTES} bytes.")
        if key and not _is_plain(key):
            raise PipesRequestError(
                f"Expected the key in the {where} params to be plain names with single slashes between them, "
                f"got {key[:100]!r}."
            )
        if self.key_prefix is not None and not key.startswith(f"{self.key_prefix}/"):
            raise PipesRequestError(
                f"Expected the key in the {where} params to be below the prefix that this function accepts. Let "
                f"`key_prefix` of the Dagster resource and {KEY_PREFIX_VARIABLE} in the function's environment agree."
            )


def _is_plain(key: str) -> bool:
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))
