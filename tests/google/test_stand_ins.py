"""The stand-ins of Google's token services answer as the real ones do, and refuse what those refuse."""

import socket
import time
from typing import Any

import pytest
import requests

from tests.google import keys
from tests.google.accounts import GOOGLE, service_account_member
from tests.google.conftest import FUNCTION_URL, Google
from tests.google.logins import CALLER, DELEGATES, IAM, REFRESH_TOKEN, SOURCE, USER
from tests.google.stand_ins import JWT_GRANT, OTHER_CLOUD, PROVIDER, TOKEN_EXCHANGE

TOKEN_URL = "https://oauth2.googleapis.com/token"
STS_URL = "https://sts.googleapis.com/v1/token"
METADATA_URL = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default"


def post(url: str, **arguments: Any) -> requests.Response:
    return requests.post(url, timeout=10, **arguments)


def grant(signer: str = CALLER, **claims: Any) -> requests.Response:
    now = int(time.time())
    assertion = keys.sign(signer, {"iss": CALLER, "aud": TOKEN_URL, "iat": now, "exp": now + 3600, **claims})
    return post(TOKEN_URL, data={"grant_type": JWT_GRANT, "assertion": assertion})


# ---------------------------------------------------------------------------------------------------- token endpoint


def test_token_endpoint_gives_an_id_token_for_an_audience(google: Google) -> None:
    google.accounts.service_accounts.add(CALLER)
    claims = keys.read(GOOGLE, grant(target_audience="https://a.run.app").json()["id_token"])
    assert (claims["aud"], claims["email"], claims["email_verified"]) == ("https://a.run.app", CALLER, True)
    assert claims["exp"] - claims["iat"] == 3600


def test_token_endpoint_gives_an_access_token_for_a_scope(google: Google) -> None:
    google.accounts.service_accounts.add(CALLER)
    token = grant(scope="https://www.googleapis.com/auth/cloud-platform").json()["access_token"]
    assert google.accounts.member_of(f"Bearer {token}") == service_account_member(CALLER)


@pytest.mark.parametrize(
    ("signer", "claims", "description"),
    [
        (SOURCE, {}, "Invalid JWT Signature."),
        (CALLER, {"iss": SOURCE}, "Invalid grant: account not found"),
        (CALLER, {"iat": int(time.time()) - 4000, "exp": int(time.time()) - 400}, "in a reasonable timeframe"),
        (CALLER, {"exp": int(time.time()) + 7200}, "must be a short-lived token (60 minutes)"),
    ],
)
def test_token_endpoint_refuses_an_assertion(
    google: Google, signer: str, claims: dict[str, Any], description: str
) -> None:
    google.accounts.service_accounts.add(CALLER)
    answer = grant(signer, **claims)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert description in answer.json()["error_description"]


def test_token_endpoint_takes_a_refresh_token_until_it_is_revoked(google: Google) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
    google.accounts.refresh_tokens[REFRESH_TOKEN] = USER
    assert google.accounts.member_of(f"Bearer {post(TOKEN_URL, data=form).json()['access_token']}") == USER
    google.accounts.refresh_tokens.clear()
    assert post(TOKEN_URL, data=form).json()["error_description"] == "Token has been expired or revoked."


# ---------------------------------------------------------------------------------------------------------------- STS


def exchange(signer: str = OTHER_CLOUD, *, audience: str = PROVIDER, exp: float = 0) -> requests.Response:
    subject_token = keys.sign(signer, {"sub": "runner", "iat": int(time.time()), "exp": int(exp or time.time() + 600)})
    form = {"grant_type": TOKEN_EXCHANGE, "audience": audience, "subject_token": subject_token}
    return post(STS_URL, data=form)


def test_sts_gives_a_workload_an_access_token(google: Google) -> None:
    token = exchange().json()["access_token"]
    assert str(google.accounts.member_of(f"Bearer {token}")).endswith("/workloadIdentityPools/pool/subject/runner")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"signer": SOURCE}, "invalid_grant"),
        ({"exp": time.time() - 1}, "invalid_grant"),
        ({"audience": "//iam.googleapis.com/elsewhere"}, "invalid_request"),
    ],
)
def test_sts_refuses_a_token(google: Google, arguments: dict[str, Any], error: str) -> None:
    answer = exchange(**arguments)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


# ------------------------------------------------------------------------------------------------- IAM Credentials API


def generate(google: Google, method: str, *, caller: str = USER, **body: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {google.accounts.new_access_token(caller)}"}
    return post(f"{IAM}/{CALLER}:{method}", json=body, headers=headers)


def test_iam_gives_tokens_to_those_who_may_impersonate(google: Google) -> None:
    google.logins.user_impersonating()
    id_token = generate(google, "generateIdToken", audience="https://a.run.app", includeEmail=True).json()["token"]
    assert keys.read(GOOGLE, id_token)["email"] == CALLER
    access_token = generate(google, "generateAccessToken", scope=["a"]).json()["accessToken"]
    assert google.accounts.member_of(f"Bearer {access_token}") == service_account_member(CALLER)


def test_iam_leaves_the_email_out_unless_it_is_asked_for(google: Google) -> None:
    google.logins.user_impersonating()
    token = generate(google, "generateIdToken", audience="https://a.run.app").json()["token"]
    assert "email" not in keys.read(GOOGLE, token)


def test_iam_wants_the_role_on_each_link_of_a_chain(google: Google) -> None:
    google.logins.user_through_delegates()
    names = [f"projects/-/serviceAccounts/{delegate}" for delegate in DELEGATES]
    assert generate(google, "generateIdToken", audience="a", delegates=names).status_code == 200
    assert generate(google, "generateIdToken", audience="a", delegates=names[:1]).status_code == 403
    assert (
        generate(google, "generateIdToken", audience="a", delegates=DELEGATES).status_code == 400
    )  # no resource names


def test_iam_names_the_permission_that_is_missing(google: Google) -> None:
    google.accounts.service_accounts.add(CALLER)
    error = generate(google, "generateIdToken", audience="a").json()["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    assert error["details"][0]["metadata"] == {"permission": "iam.serviceAccounts.getOpenIdToken"}


def test_iam_refuses_unknown_callers_and_accounts(google: Google) -> None:
    assert post(f"{IAM}/{CALLER}:generateIdToken", json={"audience": "a"}).status_code == 401
    assert generate(google, "generateIdToken", audience="a").status_code == 404


# ----------------------------------------------------------------------------------------------------- metadata server


def metadata(path: str, **headers: str) -> requests.Response:
    return requests.get(f"{METADATA_URL}/{path}", headers={"Metadata-Flavor": "Google", **headers}, timeout=10)


def test_metadata_server_knows_the_attached_service_account(google: Google) -> None:
    google.logins.metadata_server()
    assert metadata("email").text == CALLER
    assert metadata("?recursive=true").json()["email"] == CALLER
    assert keys.read(GOOGLE, metadata("identity?audience=https://a.run.app&format=full").text)["email"] == CALLER
    access_token = metadata("token").json()["access_token"]
    assert google.accounts.member_of(f"Bearer {access_token}") == service_account_member(CALLER)
    assert metadata("email").headers["Metadata-Flavor"] == "Google"


def test_metadata_server_refuses_browsers_and_unknown_accounts(google: Google) -> None:
    login = google.logins.metadata_server()
    assert metadata("email", **{"Metadata-Flavor": "other"}).status_code == 403
    login.revoke()
    assert metadata("email").status_code == 404


# ---------------------------------------------------------------------------------------------------- private function


def call(token: str | None) -> requests.Response:
    return post(FUNCTION_URL, json={}, headers={"Authorization": f"Bearer {token}"} if token else {})


def test_private_function_lets_in_who_may_call_it(google: Google) -> None:
    assert call(google.accounts.new_id_token(CALLER, FUNCTION_URL)).json()["email"] == CALLER


def test_private_function_refuses_a_token_that_does_not_hold(google: Google) -> None:
    accounts = google.accounts
    tokens = [accounts.new_id_token(CALLER, audience) for audience in ("https://b.run.app", f"{FUNCTION_URL}/")]
    tokens.append(keys.sign(SOURCE, keys.read(GOOGLE, accounts.new_id_token(CALLER, FUNCTION_URL))))
    tokens.append(keys.sign(GOOGLE, {**keys.read(GOOGLE, tokens[0]), "aud": FUNCTION_URL, "iss": "somebody"}))
    accounts.lifetime = 0
    tokens.append(accounts.new_id_token(CALLER, FUNCTION_URL))
    accounts.lifetime, accounts.clock_offset = 3600, 600
    tokens.append(accounts.new_id_token(CALLER, FUNCTION_URL))
    accounts.clock_offset = 0
    tokens += [accounts.new_access_token(USER), "no.jwt.at-all"]
    assert [call(token).status_code for token in tokens] == [401] * 8
    assert 'error="invalid_token"' in call(tokens[0]).headers["WWW-Authenticate"]


def test_private_function_refuses_who_may_not_call_it(google: Google) -> None:
    accounts = google.accounts
    strangers = [accounts.new_id_token(SOURCE, FUNCTION_URL), None]
    strangers.append(accounts.new_id_token(CALLER, FUNCTION_URL, include_email=False))
    answers = [call(token) for token in strangers]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert "Your client does not have permission to get URL <code>/</code> from this server." in answers[0].text


def test_private_function_hides_the_signature_from_the_code_behind_it(google: Google) -> None:
    seen: list[str] = []

    def code(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["HTTP_AUTHORIZATION"])
        start_response("200 OK", [])
        return [b""]

    google.network.serve("code.internal", code, tls=False)
    google.function.backend = "http://code.internal/"
    token = google.accounts.new_id_token(CALLER, FUNCTION_URL)
    assert call(token).status_code == 200
    assert seen == [f"Bearer {token.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"]


def test_private_function_with_internal_ingress_is_not_found(google: Google) -> None:
    google.function.ingress = False
    answer = call(google.accounts.new_id_token(CALLER, FUNCTION_URL))
    assert (answer.status_code, "Error: Page not found" in answer.text) == (404, True)


def test_the_platform_responds_for_a_slow_or_dead_function(google: Google) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # it takes connections, and says nothing
    google.function.backend, google.function.timeout = f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2
    token = google.accounts.new_id_token(CALLER, FUNCTION_URL)
    slow = call(token)
    silent.close()
    dead = call(token)
    assert (slow.status_code, slow.text) == (504, "upstream request timeout")
    assert (dead.status_code, "connection to the instance had an error" in dead.text) == (503, True)
