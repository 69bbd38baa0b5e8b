"""The gcloud commands that mend a set-up, with what is known of the function filled in, and in capitals what is not."""

from dagster_gcf_pipes._functions import FunctionName


def grant_invoker_command(name: FunctionName, email: str) -> str:
    """Return the command that lets a service account call a function.

    Sources: https://cloud.google.com/sdk/gcloud/reference/functions/add-invoker-policy-binding, which finds the Cloud
    Run service of a function, and https://cloud.google.com/run/docs/securing/managing-access for the service itself.
    """
    member = f"--member=serviceAccount:{email}"
    if name.function and not name.service:
        return f"gcloud functions add-invoker-policy-binding {name.function} {_where(name)} {member}"
    service = name.service or "SERVICE"
    return f"gcloud run services add-iam-policy-binding {service} {_where(name)} {member} --role=roles/run.invoker"


def describe_url_command(name: FunctionName) -> str:
    """Return the command that shows the URL of a function, or of the Cloud Run service that is all that is known."""
    if name.service and not name.function:
        return f"gcloud run services describe {name.service} {_where(name)} --format='value(status.url)'"
    function = name.function or "FUNCTION"
    return f"gcloud functions describe {function} {_where(name)} --format='value(serviceConfig.uri)'"


def _where(name: FunctionName) -> str:
    region = f"--region={name.region or 'REGION'}"
    return f"{region} --project={name.project}" if name.project else region
