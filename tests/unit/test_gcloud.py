"""The commands that errors tell: what is known of a function is filled in."""

import pytest

from dagster_gcf_pipes._function_place import FunctionPlace
from dagster_gcf_pipes._gcloud import let_invoke, show_url

EMAIL = "dagster@p.iam.gserviceaccount.com"
NUMBER = "123456789012"
MEMBER = f"--member=serviceAccount:{EMAIL}"
INVOKER = f"{MEMBER} --role=roles/run.invoker"
UNKNOWN = FunctionPlace()
LOOKED_UP = FunctionPlace("my-project", "europe-west1", "orders", "load-orders")
OF_FUNCTION_URL = FunctionPlace("my-project", "europe-west1", "orders")
OF_SERVICE_URL = FunctionPlace(NUMBER, "europe-west1", service="load-orders")


@pytest.mark.parametrize(
    ("place", "command"),
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
def test_command_that_lets_a_service_account_invoke(place: FunctionPlace, command: str) -> None:
    assert let_invoke(place, EMAIL) == f"gcloud {command}"


@pytest.mark.parametrize(
    ("place", "command"),
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
def test_command_that_shows_the_url(place: FunctionPlace, command: str) -> None:
    assert show_url(place) == f"gcloud {command}"
