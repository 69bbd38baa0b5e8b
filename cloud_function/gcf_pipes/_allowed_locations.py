"""Decides which buckets and prefixes a call may name: anyone who can reach the function can send it a payload."""

import os
from dataclasses import dataclass
from typing import Final

from gcf_pipes._shared.errors import PipesRequestError
from gcf_pipes._shared.in_process import in_process_request
from gcf_pipes._shared.json_validation import excerpt
from gcf_pipes._shared.protocol import BUCKET_NAME, BUCKETS_VARIABLE, KEY_PREFIX_VARIABLE

MAX_KEY_BYTES: Final = 1000
"""The longest name of an object, or prefix, that a call may name, in bytes.

The platform's limit is 1,024. The rest is for a chunk's number.

Source: https://cloud.google.com/storage/docs/objects#naming.
"""


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
        """Read `GCF_PIPES_BUCKETS`, names separated by commas, and `GCF_PIPES_KEY_PREFIX`. Empty means unset.

        Raises:
            ValueError: A variable is set, but does not name a valid bucket or prefix.
        """
        buckets = os.environ.get(BUCKETS_VARIABLE, "").strip()
        key_prefix = os.environ.get(KEY_PREFIX_VARIABLE, "").strip()
        names = frozenset(filter(None, map(str.strip, buckets.split(","))))
        if buckets and not (names and all(map(BUCKET_NAME.fullmatch, names))):
            raise ValueError(
                f"Expected {BUCKETS_VARIABLE} to be bucket names, separated by commas, got {buckets!r}.\n"
                "Fix: Set it to the bucket of your Dagster resource, without gs://, or unset it."
            )
        if key_prefix and not _is_plain(key_prefix.strip("/")):
            raise ValueError(
                f"Expected {KEY_PREFIX_VARIABLE} to be plain names with single slashes between them, "
                f"got {key_prefix!r}.\nFix: Set it to `key_prefix` of your Dagster resource, or unset it."
            )
        return cls(names or None, key_prefix.strip("/") or None)

    def check(self, bucket: str, key: str, where: str) -> None:
        """Refuse a bucket or key that a call may not name, without revealing which ones it may.

        Args:
            bucket: The name of the bucket.
            key: An object's name, or a prefix of names.
            where: Which params name them, for the error text.

        Raises:
            PipesRequestError: The function does not accept the bucket or the key, or its name is not valid.
        """
        if not BUCKET_NAME.fullmatch(bucket):  # google-cloud-storage does not escape it in the URL
            raise PipesRequestError(f"Expected 'bucket' in the {where} params to be the name of a bucket.")
        allowed = AllowedLocations() if in_process_request() else self  # a test's bucket is its own
        if allowed.buckets is not None and bucket not in allowed.buckets:
            raise PipesRequestError(
                f"Expected 'bucket' in the {where} params to be a bucket that this function accepts.\n"
                f"Fix: Set `bucket` of the Dagster resource and {BUCKETS_VARIABLE} in the function's environment to "
                "the same bucket."
            )
        if len(key.encode("utf-8", errors="replace")) > MAX_KEY_BYTES:
            raise PipesRequestError(f"Expected the key in the {where} params to have at most {MAX_KEY_BYTES} bytes.")
        if key and not _is_plain(key):
            raise PipesRequestError(
                f"Expected the key in the {where} params to be plain names with single slashes between them, "
                f"got {excerpt(key)}."
            )
        if allowed.key_prefix is not None and not key.startswith(f"{allowed.key_prefix}/"):
            raise PipesRequestError(
                f"Expected the key in the {where} params to be below the prefix that this function accepts.\nFix: Set "
                f"`key_prefix` of the Dagster resource and {KEY_PREFIX_VARIABLE} in the function's environment to the "
                "same prefix."
            )


def _is_plain(key: str) -> bool:
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))
