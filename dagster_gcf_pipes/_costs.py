"""What a call of a function is billed for, and an estimate of what that costs."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dagster import Config
from pydantic import Field

MIB: Final = 1024**2
GIB: Final = 1024**3
MILLISECONDS_BILLED: Final = 100
"""Time is rounded up to a multiple of this. Source: https://cloud.google.com/run/pricing."""
_UNITS: Final[Mapping[str, int]] = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
}
"""Source: https://cloud.google.com/functions/docs/reference/rest/v2/projects.locations.functions#serviceconfig."""


class PipesCloudFunctionPrices(Config):
    """What Cloud Run costs, for the estimate `cloud_function/estimated_cost_usd`.

    Google's list prices are the default. Set your own if you have a discount, or after a price change.
    """

    vcpu_second: float = Field(ge=0, allow_inf_nan=False, description="Price of a vCPU for a second, in USD.")
    gib_second: float = Field(ge=0, allow_inf_nan=False, description="Price of a GiB of memory for a second, in USD.")
    million_requests: float = Field(ge=0, allow_inf_nan=False, description="Price of a million requests, in USD.")


TIER_1: Final = PipesCloudFunctionPrices(vcpu_second=0.000024, gib_second=0.0000025, million_requests=0.4)
TIER_2: Final = PipesCloudFunctionPrices(vcpu_second=0.0000336, gib_second=0.0000035, million_requests=0.4)
"""List prices in USD with request-based billing, as of June 2026. Source: https://cloud.google.com/run/pricing."""

_TIER_1_REGIONS: Final = (
    "asia-east1 asia-northeast1 asia-northeast2 asia-south1 asia-southeast3 europe-north1 europe-north2 "
    "europe-southwest1 europe-west1 europe-west4 europe-west8 europe-west9 me-west1 northamerica-south1 us-central1 "
    "us-east1 us-east4 us-east5 us-south1 us-west1"
)
_TIER_2_REGIONS: Final = (
    "asia-east2 asia-northeast3 asia-south2 asia-southeast1 asia-southeast2 australia-southeast1 australia-southeast2 "
    "europe-central2 europe-west10 europe-west12 europe-west2 europe-west3 europe-west6 me-central1 me-central2 "
    "northamerica-northeast1 northamerica-northeast2 southamerica-east1 southamerica-west1 us-west2 us-west3 us-west4"
)
"""As of June 2026, without africa-south1, which changed since. Source: https://cloud.google.com/run/docs/locations."""


def list_prices(region: str | None) -> PipesCloudFunctionPrices | None:
    """Return Google's prices in a region, or None if they are not known."""
    if region in _TIER_1_REGIONS.split():
        return TIER_1
    return TIER_2 if region in _TIER_2_REGIONS.split() else None


@dataclass(frozen=True)
class InstanceSize:
    """What each instance of a function has. Unknown is None.

    Attributes:
        memory: Its memory limit, in bytes.
        cpus: Its vCPUs, such as 0.583.
    """

    memory: int | None
    cpus: float | None

    def __str__(self) -> str:
        memory = f"{self.memory / MIB:.0f} MiB" if self.memory else ""
        return ", ".join(filter(None, (memory, f"{self.cpus:.3g} vCPU" if self.cpus else "")))


def parse_memory(quantity: str) -> int | None:
    """Return the bytes of an amount of memory, such as "256M" or "1Gi", or None if it is not one."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)(k|M|G|Ki|Mi|Gi)?", quantity)
    return int(float(match[1]) * _UNITS[match[2] or ""]) or None if match else None


def parse_cpus(quantity: str) -> float | None:
    """Return the number of vCPUs, such as "1", "0.583" or "583m", or None if it is not one."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)(m)?", quantity)
    return float(match[1]) / (1000 if match[2] else 1) or None if match else None


def billable_seconds(seconds: float) -> float:
    """Return the seconds that are billed for a request that took so long."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    return max(math.ceil(milliseconds / MILLISECONDS_BILLED), 1) * MILLISECONDS_BILLED / 1000


def estimate_cost(prices: PipesCloudFunctionPrices | None, size: InstanceSize, seconds: float) -> float | None:
    """Return what the billed seconds of a request cost, or None if a price or the size of the instance is unknown.

    The instance is taken to serve no other request. It leaves out the free tier, and the instance's start.
    """
    if prices is None or size.memory is None or size.cpus is None:
        return None
    a_second = size.cpus * prices.vcpu_second + size.memory / GIB * prices.gib_second
    return seconds * a_second + prices.million_requests / 1_000_000
