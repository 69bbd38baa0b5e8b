"""The commands that errors tell: what is known of a function is filled in."""

import pytest

from dagster_gcf_pipes._functions import FunctionName
from dagster_gcf_pipes._gcloud import describe_url_command, grant_invoker_command

EMAIL = "dagster@p.iam.gserviceaccount.com"
NUMBER = "123456789012"
MEMBER = f"--member=serviceAccount:{EMAIL}"
INVOKER = f"{MEMBER} --role=roles/run.invoker"
UNKNOWN = FunctionName()
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
