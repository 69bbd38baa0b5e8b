"""What a half says about itself, and what follows from what both say. The other half's words are untrusted."""

import pytest
from gcf_pipes._shared.halves import Half, capability_problem, protocol_problem
from gcf_pipes._shared.protocol import PROTOCOL, VERSION


@pytest.mark.parametrize("capabilities", [[], ["forward_logs"], ["usage", "forward_logs"]])
def test_a_half_is_what_its_headers_say(capabilities: list[str]) -> None:
    half = Half.ours(capabilities)
    assert Half.parse(half.headers["Dagster-Pipes-Protocol"], half.headers["Dagster-Pipes-Version"]) == half
    assert (half.protocol, half.version) == (PROTOCOL, VERSION)


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "0", "-1", "1.0", "v1", "one", "12345", "\uff11", "1 ", " 1", "1\n", "1, 1", "x" * 100_000),
        *("1  a", "1\ta", "1, a", "1 A", "1 1a", "1 a-b", "1 a, 1 a", f"1 {'a' * 41}", f"1{' a' * 21}"),
    ],
)
def test_a_half_that_does_not_say_its_protocol_is_unknown(text: str | None) -> None:
    assert Half.parse(text, VERSION) is None


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0.dev1+local", "12.3rc1", "1.0.post3"])
def test_any_version_of_a_package_is_shown(version: str) -> None:
    half = Half.parse("2 forward_logs", version)
    assert half == Half(2, frozenset({"forward_logs"}), version)
    assert f"gcf_pipes {version} " in protocol_problem(function=half, dagster=Half.ours())


@pytest.mark.parametrize("version", [None, "", "1", "v1.0", "garbage", "1.0 <script>", "1.0\x1b[31m", "9" * 1000])
def test_a_version_in_another_form_is_not_shown(version: str | None) -> None:
    half = Half.parse("2", version)
    assert half == Half(2)
    assert "from the function's gcf_pipes and 1 from" in protocol_problem(function=half, dagster=Half.ours())


def test_the_side_with_the_lower_protocol_is_to_be_upgraded() -> None:
    older, newer = Half(1, version="0.1.0"), Half(2, version="0.7.0")
    assert protocol_problem(function=older, dagster=newer) == (
        "Expected both sides to have one version of the wire protocol, got 1 from the function's gcf_pipes 0.1.0 and 2 "
        "from dagster-gcf-pipes 0.7.0.\n"
        "Fix: Upgrade the function: set `gcf-pipes` in its requirements.txt to 0.7.0, and deploy it again."
    )
    assert protocol_problem(function=newer, dagster=older) == (
        "Expected both sides to have one version of the wire protocol, got 2 from the function's gcf_pipes 0.7.0 and 1 "
        "from dagster-gcf-pipes 0.1.0.\n"
        "Fix: Upgrade Dagster's side: `pip install --upgrade dagster-gcf-pipes` where Dagster runs."
    )


@pytest.mark.parametrize(("ours", "other"), [("0.1.0", "0.99.0"), ("1.0.0", "0.1.0"), ("0.2.0.dev1+local", None)])
def test_halves_with_one_protocol_work_together_whatever_their_versions(ours: str, other: str | None) -> None:
    assert protocol_problem(function=Half(1, version=ours), dagster=Half(1, version=other)) == ""


FIX = (
    "Fix: Upgrade the function: set `gcf-pipes` in its requirements.txt to 0.2.0, and deploy it again. Its entry point "
    "has to be decorated with `gcf_pipes.pipes_function`."
)


@pytest.mark.parametrize(
    ("has", "needs", "missing"),
    [
        ([], [], ""),
        (["forward_logs"], [], ""),
        (["forward_logs"], ["forward_logs"], ""),
        (["forward_logs", "usage"], ["usage"], ""),
        ([], ["forward_logs"], "`forward_logs`"),
        (["usage"], ["forward_logs", "ranges", "usage"], "`forward_logs`, `ranges`"),
    ],
)
def test_a_function_has_to_announce_what_a_call_needs(has: list[str], needs: list[str], missing: str) -> None:
    function, dagster = Half(1, frozenset(has), "0.1.0"), Half(1, frozenset(needs), "0.2.0")
    text = f"Expected the function's gcf_pipes 0.1.0 to announce {missing}, which dagster-gcf-pipes 0.2.0 uses, but it "
    assert capability_problem(function=function, dagster=dagster) == (f"{text}does not.\n{FIX}" if missing else "")


def test_a_function_that_says_nothing_announces_nothing() -> None:
    dagster = Half(1, frozenset({"forward_logs"}), "0.2.0")
    text = "Expected the function to announce `forward_logs`, which dagster-gcf-pipes 0.2.0 uses, but it does not."
    assert capability_problem(function=None, dagster=dagster) == f"{text}\n{FIX}"
