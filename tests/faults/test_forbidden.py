"""The error for an identity without a permission. Cloud Storage names it in JSON or, for a download, in plain text."""

from contextlib import closing

import pytest
from gcf_pipes import PipesStorageForbiddenError
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes.local import Emulator, storage_client
from tests.faults.plan import EVERY, READ, Fault, Status, storage_error
from tests.faults.proxy import FaultProxy

LACKS = "{} does not have storage.objects.get access to the Google Cloud Storage object."


@pytest.mark.parametrize(
    ("caller", "member"),
    [
        ("pipes@p.iam.gserviceaccount.com", "serviceAccount:pipes@p.iam.gserviceaccount.com"),
        ("somebody@example.com", "user:somebody@example.com"),
        ("Anonymous caller", "MEMBER"),
    ],
)
@pytest.mark.parametrize("form", ["json", "text", "json without a message"])
def test_a_refused_read_names_the_command_and_the_member(
    emulator: Emulator, bucket: str, caller: str, member: str, form: str
) -> None:
    text = LACKS.format(caller)
    answer = {
        "json": storage_error(403, "forbidden", text),
        "text": Status(403, text.encode()),
        "json without a message": Status(403, f'["{text}"]'.encode()),
    }[form]
    with (
        FaultProxy(emulator.url, [Fault(READ, answer, EVERY)]) as proxy,
        closing(storage_client(proxy.url)) as client,
        pytest.raises(PipesStorageForbiddenError) as caught,
    ):
        ObjectStore(bucket, client).read("some/1.json", max_bytes=100, timeout=5)
    assert text in str(caught.value)
    assert str(caught.value).endswith(
        f"`gcloud storage buckets add-iam-policy-binding gs://{bucket} --member={member} "
        "--role=roles/storage.objectViewer`."
    )
