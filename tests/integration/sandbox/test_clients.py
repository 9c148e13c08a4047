"""simple-salesforce, unmodified, in each of its ways to log in; OAuth and SOAP on their own."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceMalformedRequest
from simple_salesforce.login import SalesforceLogin

from tests.sandbox_fixture import SandboxOrg

LEAD = {"LastName": "Doe", "Company": "Acme"}
COUNT = "SELECT COUNT() FROM Lead"
SOAP = (
    '<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Header>'
    '<SessionHeader xmlns="urn:partner.soap.sforce.com">'
    "<sessionId>{token}</sessionId></SessionHeader></Header><Body>{body}</Body></Envelope>"
)


@pytest.fixture
def trusting(sandbox_org: SandboxOrg, monkeypatch: pytest.MonkeyPatch) -> SandboxOrg:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(sandbox_org.ca))
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    return sandbox_org


def soap(org: SandboxOrg, body: str, version: int = 59, token: str = "") -> tuple[int, str]:
    url = f"{org.login_url}/services/Soap/u/{version}.0"
    text = SOAP.format(token=token or org.token(), body=body)
    answer = org.session.post(url, data=text, headers={"SOAPAction": '""', "Content-Type": "text/xml"}, timeout=10)
    return answer.status_code, answer.text


def test_a_known_session_is_used_directly(trusting: SandboxOrg) -> None:
    client: Any = Salesforce(instance_url=trusting.instance_url, session_id=trusting.token())
    made = client.Lead.create(LEAD)
    assert client.Lead.update(made["id"], {"City": "Troy"}) == 204
    assert client.Lead.get(made["id"])["City"] == "Troy"
    assert client.Lead.upsert("Fairturn_Source_Id__c/k", LEAD) == 201
    assert client.query(COUNT)["totalSize"] == 2
    assert len(list(client.query_all_iter("SELECT Id FROM Lead"))) == 2
    assert client.Lead.describe()["keyPrefix"] == "00Q"
    assert client.Lead.delete(made["id"]) == 204
    assert client.api_usage["api-usage"].used > 0
    rows = [{"attributes": {"type": "Lead"}, **LEAD}, {"attributes": {"type": "Lead"}}]
    results = client.restful("composite/sobjects", method="POST", json={"records": rows})
    assert [row["success"] for row in results] == [True, False]
    with pytest.raises(SalesforceMalformedRequest):
        client.query("SELECT Nope FROM Lead")


def test_soap_login_by_a_given_address(trusting: SandboxOrg) -> None:
    token, instance = SalesforceLogin(
        username="jo@org.invalid", password="any", security_token="", scratch_url=trusting.login_url
    )
    assert token.startswith(f"{trusting.org_id[:15]}!")
    assert instance == f"127.0.0.1:{trusting.https}"


def test_soap_and_client_credentials_by_the_domain_trick(trusting: SandboxOrg) -> None:
    domain = f"localhost:{trusting.https}/"
    by_password = Salesforce(username="jo@org.invalid", password="any", security_token="", domain=domain)
    by_client = Salesforce(consumer_key="any", consumer_secret="any", domain=domain)
    assert [client.query(COUNT)["totalSize"] for client in (by_password, by_client)] == [0, 0]


def test_jwt_bearer_speaks_for_the_subject(trusting: SandboxOrg) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    domain = f"localhost:{trusting.https}/"
    client: Any = Salesforce(username="jwt@org.invalid", consumer_key="any", privatekey=pem, domain=domain)
    lead = client.Lead.create(LEAD)["id"]
    row = client.query("SELECT Id, CreatedBy.Username FROM Lead")["records"][0]
    assert row["Id"] == lead
    assert row["CreatedBy"]["Username"] == "jwt@org.invalid"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "magic"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "invalid_client_id"),
        ({"grant_type": "client_credentials", "client_id": "a"}, "invalid_client"),
        ({"grant_type": "password", "client_id": "a", "client_secret": "b"}, "invalid_grant"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"}, "invalid_grant"),
        (
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": jwt.encode({"iss": "a", "sub": "b", "aud": "c"}, "k" * 32),
            },
            "invalid_grant",
        ),
    ],
)
def test_a_token_request_that_lacks_something_is_refused(
    sandbox_org: SandboxOrg, form: dict[str, str], error: str
) -> None:
    answer = sandbox_org.session.post(f"{sandbox_org.login_url}/services/oauth2/token", data=form, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_token_names_its_org_and_its_user(sandbox_org: SandboxOrg) -> None:
    form = {"grant_type": "password", "client_id": "a", "client_secret": "b", "username": "jo@x.org", "password": "p"}
    granted = sandbox_org.session.post(f"{sandbox_org.login_url}/services/oauth2/token", data=form, timeout=10).json()
    org_id, user_id = granted["id"].split("/")[-2:]
    assert org_id == sandbox_org.org_id
    headers = {"Authorization": f"Bearer {granted['access_token']}"}
    url = f"{sandbox_org.login_url}/services/oauth2/userinfo"
    info = sandbox_org.session.get(url, headers=headers, timeout=10).json()
    assert (info["user_id"], info["preferred_username"]) == (user_id, "jo@x.org")
    sandbox_org.session.post(
        f"{sandbox_org.login_url}/services/oauth2/revoke", data={"token": granted["access_token"]}, timeout=10
    )
    assert sandbox_org.session.get(url, headers=headers, timeout=10).status_code == 403


def test_soap_login_ends_with_version_65(sandbox_org: SandboxOrg) -> None:
    body = '<login xmlns="urn:partner.soap.sforce.com"><username>a</username><password>b</password></login>'
    assert soap(sandbox_org, body, 64)[0] == 200
    status, text = soap(sandbox_org, body, 65)
    assert status == 500
    assert "<sf:exceptionCode>UNSUPPORTED_API_VERSION</sf:exceptionCode>" in text


def test_a_refused_soap_login_is_a_fault(trusting: SandboxOrg) -> None:
    trusting.fault("login", "refuse")
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        SalesforceLogin(username="jo", password="any", security_token="", scratch_url=trusting.login_url)


def test_soap_converts_undeletes_and_merges(sandbox_org: SandboxOrg) -> None:
    first, second, third = sandbox_org.create_leads(LEAD, LEAD, LEAD)
    convert = f"<convertLead><leadConverts><leadId>{first}</leadId></leadConverts></convertLead>"
    merge = (
        f"<merge><request><masterRecord><type>Lead</type><Id>{second}</Id></masterRecord>"
        f"<recordToMergeIds>{third}</recordToMergeIds></request></merge>"
    )
    undelete = f"<undelete><ids>{third}</ids></undelete>"
    for body in (convert, merge, undelete):
        status, text = soap(sandbox_org, body)
        assert status == 200
        assert "<success>true</success>" in text
    kinds = [seen.header["changeType"] for seen in sandbox_org.events(7)]
    assert kinds == ["CREATE"] * 3 + ["UPDATE", "DELETE", "UPDATE", "UNDELETE"]
    again = soap(sandbox_org, convert)[1]
    assert "CANNOT_UPDATE_CONVERTED_LEAD" in again
    assert sandbox_org.rest("PATCH", f"sobjects/Lead/{first}", json={"City": "T"}).status_code == 400


@pytest.mark.parametrize("body", ["<nope/>", "", "<a"])
def test_soap_nonsense_is_a_fault(sandbox_org: SandboxOrg, body: str) -> None:
    status, text = soap(sandbox_org, body)
    assert status == 500
    assert "faultstring" in text
