"""The gcloud commands that mend a set-up, with what is known of the function filled in, and in capitals what is not."""

from dagster_gcf_pipes._function_place import FunctionPlace


def let_invoke(place: FunctionPlace, email: str) -> str:
    """Return the command that lets a service account call a function.

    Sources: https://cloud.google.com/sdk/gcloud/reference/functions/add-invoker-policy-binding, which finds the Cloud
    Run service of a function, and https://cloud.google.com/run/docs/securing/managing-access for the service itself.
    """
    member = f"--member=serviceAccount:{email}"
    if place.function and not place.service:
        return f"gcloud functions add-invoker-policy-binding {place.function} {_where(place)} {member}"
    service = place.service or "SERVICE"
    return f"gcloud run services add-iam-policy-binding {service} {_where(place)} {member} --role=roles/run.invoker"


def show_url(place: FunctionPlace) -> str:
    """Return the command that shows the URL of a function, or of the Cloud Run service that is all that is known."""
    if place.service and not place.function:
        return f"gcloud run services describe {place.service} {_where(place)} --format='value(status.url)'"
    function = place.function or "FUNCTION"
    return f"gcloud functions describe {function} {_where(place)} --format='value(serviceConfig.uri)'"


def _where(place: FunctionPlace) -> str:
    region = f"--region={place.region or 'REGION'}"
    return f"{region} --project={place.project}" if place.project else region
