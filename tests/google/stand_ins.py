"""Stand-ins of the services that give tokens: the OAuth token endpoint, STS, IAM Credentials, metadata server.

Each is a Flask application with the limits and error bodies of the real one that google-auth can meet.
"""

import re
from datetime import datetime, timezone
from typing import Any, Final

import flask

from tests.google import keys
from tests.google.accounts import Accounts, service_account_member
from tests.metadata_server import metadata_server

JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
LONGEST_ASSERTION: Final = 3600
TOLERATED_SKEW: Final = 300
POOL: Final = "projects/123456/locations/global/workloadIdentityPools/pool"
PROVIDER: Final = f"//iam.googleapis.com/{POOL}/providers/other-cloud"
OTHER_CLOUD: Final = "other-cloud"
"""The signer of the federated workloads' tokens."""

Answer = flask.Response | tuple[Any, int] | dict[str, Any]


def token_endpoint(accounts: Accounts) -> flask.Flask:
    """`https://oauth2.googleapis.com/token`: grants for signed assertions and for refresh tokens.

    Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest, errors below.
    """
    app = _counting(flask.Flask("token"), accounts)

    @app.post("/token")
    def token() -> Answer:
        form = flask.request.form
        if form.get("grant_type") == JWT_GRANT:
            return _grant_for_assertion(accounts, form["assertion"])
        if form.get("grant_type") == "refresh_token":
            return _grant_for_refresh_token(accounts, form.get("refresh_token", ""))
        return _oauth_error("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")

    return app


def sts(accounts: Accounts) -> flask.Flask:
    """`https://sts.googleapis.com/v1/token`: exchanges the token of another cloud's workload for an access token.

    Source: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token.
    """
    app = _counting(flask.Flask("sts"), accounts)

    @app.post("/v1/token")
    def token() -> Answer:
        form = flask.request.form
        if form.get("grant_type") != TOKEN_EXCHANGE or form.get("audience") != PROVIDER:
            return _oauth_error("invalid_request", 'Invalid value for "audience".')
        try:
            claims = keys.read(OTHER_CLOUD, form["subject_token"])
        except ValueError:
            return _oauth_error("invalid_grant", "The signature of the ID Token could not be verified.")
        if accounts.now() > claims["exp"]:
            return _oauth_error("invalid_grant", f"ID Token issued at {claims['iat']} is stale to sign-in.")
        return {
            "access_token": accounts.new_access_token(workload_member(claims["sub"])),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 3600,
        }

    return app


def workload_member(subject: str) -> str:
    """Return the IAM member that a federated workload is."""
    return f"principal://iam.googleapis.com/{POOL}/subject/{subject}"


def iam_credentials(accounts: Accounts) -> flask.Flask:
    """`https://iamcredentials.googleapis.com`: tokens of service accounts, for those who may impersonate them.

    Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateIdToken.
    """
    app = _counting(flask.Flask("iam"), accounts)

    @app.post("/v1/projects/-/serviceAccounts/<name>")
    def generate(name: str) -> Answer:
        target, _, method = name.partition(":")
        body = flask.request.get_json()
        if error := _refusal(accounts, target, method, body.get("delegates") or []):
            return error
        if method == "generateAccessToken":
            return _generated_access_token(accounts, target, body)
        return {"token": accounts.new_id_token(target, body["audience"], include_email=body.get("includeEmail", False))}

    return app


def instance_metadata(accounts: Accounts) -> flask.Flask:
    """`http://metadata.google.internal` of a machine with at most one attached service account."""

    def find(path: str) -> str | dict[str, Any] | None:
        email = accounts.attached
        if path == "project/project-id":
            return "local-project"
        match = re.fullmatch("instance/service-accounts/([^/]+)/(email|identity|token|)", path)
        if email is None or match is None or match[1] not in ("default", email):
            return None
        match match[2]:
            case "identity":
                return accounts.new_id_token(email, flask.request.args["audience"])
            case "token":
                token = accounts.new_access_token(service_account_member(email))
                return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
            case "email":
                return email
        return {"aliases": ["default"], "email": email, "scopes": []}

    return _counting(metadata_server(find), accounts)


def _counting(app: flask.Flask, accounts: Accounts) -> flask.Flask:
    """Let an application count its requests, and answer first with the statuses that a test wants."""

    @app.before_request
    def count() -> Answer | None:
        if flask.request.path.endswith("/allowedLocations"):
            return _api_error(404, "NOT_FOUND", "Method not found.")  # google-auth asks so in a thread of its own
        accounts.asked[app.name] += 1
        status = accounts.statuses[app.name].pop(0) if accounts.statuses[app.name] else None
        if status:
            return _api_error(status, "UNAVAILABLE", "The service is currently unavailable.")
        return None

    return app


def _grant_for_assertion(accounts: Accounts, assertion: str) -> Answer:
    email = keys.read_unverified(assertion)["iss"]
    if email not in accounts.service_accounts:
        return _oauth_error("invalid_grant", "Invalid grant: account not found")
    try:
        claims = keys.read(email, assertion)
    except ValueError:
        return _oauth_error("invalid_grant", "Invalid JWT Signature.")
    if claims["exp"] - claims["iat"] > LONGEST_ASSERTION or abs(accounts.now() - claims["iat"]) > TOLERATED_SKEW:
        return _oauth_error(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim.",
        )
    if audience := claims.get("target_audience"):
        return {"id_token": accounts.new_id_token(email, audience)}
    token = accounts.new_access_token(service_account_member(email))
    return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}


def _grant_for_refresh_token(accounts: Accounts, refresh_token: str) -> Answer:
    member = accounts.refresh_tokens.get(refresh_token)
    if member is None:
        return _oauth_error("invalid_grant", "Token has been expired or revoked.")
    return {
        "access_token": accounts.new_access_token(member),
        "expires_in": 3599,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "token_type": "Bearer",
    }


def _refusal(accounts: Accounts, target: str, method: str, delegates: list[str]) -> Answer | None:
    """Return the error of a caller who may not impersonate the target through the delegates."""
    caller = accounts.member_of(flask.request.headers.get("Authorization"))
    if caller is None:
        return _api_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
    if not all(re.fullmatch(r"projects/-/serviceAccounts/[^/]+", delegate) for delegate in delegates):
        return _api_error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    chain = [delegate.rpartition("/")[2] for delegate in delegates]
    for delegate in chain:
        if not accounts.may_create_tokens(caller, delegate):
            return _permission_denied("iam.serviceAccounts.implicitDelegation")
        caller = service_account_member(delegate)
    if target not in accounts.service_accounts:
        return _api_error(404, "NOT_FOUND", f"Not found; Gaia id not found for email {target}")
    if not accounts.may_create_tokens(caller, target):
        what = "getAccessToken" if method == "generateAccessToken" else "getOpenIdToken"
        return _permission_denied(f"iam.serviceAccounts.{what}")
    return None


def _generated_access_token(accounts: Accounts, target: str, body: dict[str, Any]) -> Answer:
    if not body.get("scope"):
        return _api_error(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    expiry = datetime.fromtimestamp(accounts.now() + 3600, timezone.utc)
    return {
        "accessToken": accounts.new_access_token(service_account_member(target)),
        "expireTime": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _oauth_error(error: str, description: str) -> Answer:
    return {"error": error, "error_description": description}, 400


def _permission_denied(permission: str) -> Answer:
    return _api_error(
        403,
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource (or it may not exist).",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com",
                "metadata": {"permission": permission},
            }
        ],
    )


def _api_error(code: int, status: str, message: str, details: list[dict[str, Any]] | None = None) -> Answer:
    error = {"code": code, "message": message, "status": status, **({"details": details} if details else {})}
    return {"error": error}, code
