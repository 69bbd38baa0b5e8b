"""What is billed for a call, and what it costs."""

import pytest

from dagster_gcf_pipes import PipesCloudFunctionPrices
from dagster_gcf_pipes._costs import (
    TIER_1,
    TIER_2,
    InstanceSize,
    billable_seconds,
    estimate_cost,
    list_prices,
    parse_cpus,
    parse_memory,
)

GIB = 1024**3


@pytest.mark.parametrize(
    ("seconds", "billed"), [(0, 0.1), (0.001, 0.1), (0.1, 0.1), (0.1001, 0.2), (0.3, 0.3), (1.25, 1.3), (3600, 3600)]
)
def test_time_is_billed_in_steps_of_100_ms(seconds: float, billed: float) -> None:
    assert billable_seconds(seconds) == billed


@pytest.mark.parametrize(
    ("quantity", "memory"),
    [("256M", 256_000_000), ("256Mi", GIB // 4), ("1.5Gi", GIB * 3 // 2), ("512", 512), ("1G", 10**9)],
)
def test_an_amount_of_memory_of_the_api(quantity: str, memory: int) -> None:
    assert parse_memory(quantity) == memory


@pytest.mark.parametrize("quantity", ["", "0", "-1M", "1e9", "much", "1 Gi", "9" * 400])
def test_another_amount_is_unknown(quantity: str) -> None:
    assert parse_memory(quantity) is None
    assert parse_cpus(quantity if quantity != "1e9" else "") is None


@pytest.mark.parametrize(("quantity", "cpus"), [("1", 1), ("0.583", 0.583), ("583m", 0.583), ("8", 8)])
def test_a_number_of_cpus_of_the_api(quantity: str, cpus: float) -> None:
    assert parse_cpus(quantity) == cpus


def test_a_cost_is_that_of_the_time_the_cpu_the_memory_and_the_request() -> None:
    size = InstanceSize(GIB // 2, 2)
    cost = estimate_cost(TIER_1, size, 10)
    assert cost == pytest.approx(10 * (2 * 0.000024 + 0.5 * 0.0000025) + 0.4 / 1_000_000)
    own = PipesCloudFunctionPrices(vcpu_second=0, gib_second=0, million_requests=0)
    assert estimate_cost(own, size, 10) == 0


def test_an_unknown_price_or_size_makes_the_cost_unknown() -> None:
    assert estimate_cost(None, InstanceSize(GIB, 1), 1) is None
    assert estimate_cost(TIER_1, InstanceSize(None, 1), 1) is None
    assert estimate_cost(TIER_1, InstanceSize(GIB, None), 1) is None


@pytest.mark.parametrize(
    ("region", "prices"),
    [("europe-west1", TIER_1), ("europe-west10", TIER_2), ("us-west1", TIER_1), ("moon-west1", None), (None, None)],
)
def test_the_region_decides_the_list_prices(region: str | None, prices: PipesCloudFunctionPrices | None) -> None:
    assert list_prices(region) == prices


@pytest.mark.parametrize("price", [-1, float("nan"), float("inf"), "free", None])
def test_a_price_is_a_number_that_is_not_negative(price: object) -> None:
    with pytest.raises(ValueError, match="vcpu_second"):
        PipesCloudFunctionPrices(vcpu_second=price, gib_second=0, million_requests=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (InstanceSize(GIB // 2, 0.583), "512 MiB, 0.583 vCPU"),
        (InstanceSize(None, 1), "1 vCPU"),
        (InstanceSize(GIB, None), "1024 MiB"),
        (InstanceSize(None, None), ""),
    ],
)
def test_the_text_of_an_instance_leaves_out_what_is_unknown(size: InstanceSize, text: str) -> None:
    assert str(size) == text
