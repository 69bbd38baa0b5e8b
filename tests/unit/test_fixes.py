"""What errors tell the user to do, filled in with the known parts of the name of the function."""

from dataclasses import replace

import pytest

from dagster_gcf_pipes._fixes import (
    CREDENTIALS_FIX,
    CallerIdentity,
    access_fix,
    describe_url_command,
    google_error_fix,
    grant_invoker_command,
)
from dagster_gcf_pipes._functions import FunctionName

EMAIL = "dagster@p.iam.gserviceaccount.com"
NUMBER = "123456789012"
MEMBER = f"--member=serviceAccount:{EMAIL}"
INVOKER = f"{MEMBER} --role=roles/run.invoker"
UNKNOWN = FunctionName()
DESCRIBE = "functions describe orders --region=europe-west1 --project=my-project"
LOOKED_UP = FunctionName("my-project", "europe-west1", "orders", "load-orders")
OF_FUNCTION_URL = FunctionName("my-project", "europe-west1", "orders")
OF_SERVICE_URL = FunctionName(NUMBER, "europe-west1", service="load-orders")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (UNKNOWN, f"run services add-iam-policy-binding SERVICE --region=REGION {INVOKER}"),
        (
            LOOKED_UP,
            f"run services add-iam-policy-binding load-orders --region=europe-west1 --project=my-project {INVOKER}",
        ),
        (
            OF_FUNCTION_URL,
            f"functions add-invoker-policy-binding orders --region=europe-west1 --project=my-project {MEMBER}",
        ),
        (
            OF_SERVICE_URL,
            f"run services add-iam-policy-binding load-orders --region=europe-west1 --project={NUMBER} {INVOKER}",
        ),
    ],
)
def test_command_that_lets_a_service_account_invoke(name: FunctionName, command: str) -> None:
    assert grant_invoker_command(name, EMAIL) == f"gcloud {command}"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (UNKNOWN, "functions describe FUNCTION --region=REGION --format='value(serviceConfig.uri)'"),
        (
            LOOKED_UP,
            "functions describe orders --region=europe-west1 --project=my-project --format='value(serviceConfig.uri)'",
        ),
        (
            OF_SERVICE_URL,
            f"run services describe load-orders --region=europe-west1 --project={NUMBER} --format='value(status.url)'",
        ),
    ],
)
def test_command_that_shows_the_url(name: FunctionName, command: str) -> None:
    assert describe_url_command(name) == f"gcloud {command}"


AUDIENCE = "https://orders.example.com"
WITH_TOKEN = CallerIdentity("an identity", True, True, EMAIL, AUDIENCE, LOOKED_UP)
NEEDS_NO_TOKEN = CallerIdentity(needs_token=False, audience="http://127.0.0.1:8080")
OWN_SESSION = CallerIdentity()


@pytest.mark.parametrize(
    ("status", "caller", "fix"),
    [
        pytest.param(401, WITH_TOKEN, f"set `audience` of the resource to the URL that `gcloud {DESCRIBE}", id="401"),
        pytest.param(403, WITH_TOKEN, f"Allow {EMAIL} to call the function: `gcloud run services", id="403"),
        pytest.param(
            403,
            replace(WITH_TOKEN, email=None),
            f"load-orders --region=europe-west1 --project=my-project {MEMBER.replace(EMAIL, 'EMAIL')}",
            id="a token without an email",
        ),
        pytest.param(403, NEEDS_NO_TOKEN, "Call the function at its https URL. No ID token was sent", id="no token"),
        pytest.param(404, WITH_TOKEN, f"Compare the URL with the output of `gcloud {DESCRIBE}", id="404"),
        pytest.param(404, OWN_SESSION, "deploy the function with `--ingress-settings=all`", id="404 of an own session"),
    ],
)
def test_fix_of_a_call_that_was_refused(status: int, caller: CallerIdentity, fix: str) -> None:
    assert fix in access_fix(status, caller)


@pytest.mark.parametrize(
    ("status", "caller"),
    [(200, WITH_TOKEN), (429, WITH_TOKEN), (500, NEEDS_NO_TOKEN), (401, OWN_SESSION), (403, OWN_SESSION)],
)
def test_no_fix_where_none_is_known(status: int, caller: CallerIdentity) -> None:
    assert access_fix(status, caller) == ""


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("invalid_grant: Token has been expired or revoked.", "Log in again: `gcloud auth application-default login`."),
        ("{'status': 'NOT_FOUND'}", "Check `impersonate_service_account`: there is no such service account."),
        ("something new", CREDENTIALS_FIX),
    ],
)
def test_fix_of_an_error_of_google_auth(text: str, fix: str) -> None:
    assert google_error_fix(text) == fix
