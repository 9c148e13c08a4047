"""The few SOAP calls that clients and leads need: login, logout, getUserInfo, convertLead, undelete, merge.

Answers are ordered as in the partner WSDL and carry no prefixes: some clients read by position, some by regex.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response

from sandbox.errors import RecordError
from sandbox.org import Actor, Org
from sandbox.rest.call import client_of
from sandbox.rest.oauth import instance_url
from sandbox.schema import SObject
from sandbox.transaction import Transaction
from sandbox.verbs import Conversion, convert, merge

NO_LOGIN_FROM = 65
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns="urn:{wsdl}.soap.sforce.com" xmlns:sf="urn:fault.{wsdl}.soap.sforce.com" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>'
)


class SoapFault(Exception):  # noqa: N818 - SOAP's own word
    """Answered with status 500."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SoapCall:
    """One SOAP request, its body as nested text."""

    def __init__(self, request: Request, envelope: ET.Element) -> None:
        self.org: Org = request.app.state.org
        self.request = request
        self.version = int(request.path_params["version"])
        body = _child(envelope, "Body")
        verb = next(iter(body), None) if body is not None else None
        if verb is None:
            raise SoapFault("UNKNOWN_EXCEPTION", "the envelope has no body")
        self.verb = verb
        header = _child(envelope, "Header")
        self.token = (
            next((each.text or "" for each in header.iter() if _tag(each) == "sessionId"), "")
            if header is not None
            else ""
        )
        self.wsdl = "enterprise" if request.path_params["wsdl"] == "c" else "partner"

    def text(self, name: str) -> str:
        return next((each.text or "" for each in self.verb if _tag(each) == name), "")

    def user_id(self) -> str:
        user_id = self.org.sessions.get(self.token)
        if user_id is None:
            raise SoapFault("INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader: Illegal Session")
        return user_id

    def transaction(self) -> Transaction:
        client = client_of(self.request)
        origin = f"com/salesforce/api/soap/{self.version}.0" + (f";client={client}" if client else "")
        return Transaction(self.org, Actor(self.user_id(), origin))

    def sobject_of(self, record_id: str) -> SObject:
        found = self.org.type_of(record_id)
        if found is None:
            raise RecordError("MALFORMED_ID", f"malformed id {record_id}")
        return found


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ET.Element, name: str) -> ET.Element | None:
    return next((each for each in element if _tag(each) == name), None)


def _texts(element: ET.Element) -> dict[str, str]:
    return {_tag(each): each.text or "" for each in element}


def _xml(values: Mapping[str, Any]) -> str:
    return "".join(_element(name, value) for name, value in values.items())


def _element(name: str, value: Any) -> str:
    if value is None:
        return f'<{name} xsi:nil="true"/>'
    if isinstance(value, Mapping):
        return f"<{name}>{_xml(value)}</{name}>"
    if isinstance(value, bool):
        value = str(value).lower()
    return f"<{name}>{escape(str(value))}</{name}>"


async def serve(request: Request) -> Response:
    """Answers one SOAP request; refusals are faults with status 500."""
    wsdl = "enterprise" if request.path_params["wsdl"] == "c" else "partner"
    try:
        envelope = ET.fromstring(await request.body())  # noqa: S314 - expat itself bounds entity expansion
        call = SoapCall(request, envelope)
        verb = _tag(call.verb)
        body, status = f"<{verb}Response>{_VERBS.get(verb, _unknown)(call)}</{verb}Response>", 200
    except ET.ParseError as error:
        body, status = _fault("UNKNOWN_EXCEPTION", f"not XML: {error}"), 500
    except SoapFault as fault:
        body, status = _fault(fault.code, fault.message), 500
    return Response(_ENVELOPE.format(wsdl=wsdl, body=body), status, media_type="text/xml")


def _fault(code: str, message: str) -> str:
    detail = f"<sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>{escape(message)}</sf:exceptionMessage>"
    return (
        f"<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {escape(message)}</faultstring>"
        f"<detail><sf:UnexpectedErrorFault>{detail}</sf:UnexpectedErrorFault></detail></soapenv:Fault>"
    )


# --- verbs


def _unknown(call: SoapCall) -> str:
    raise SoapFault("UNKNOWN_EXCEPTION", f"The sandbox does not serve {_tag(call.verb)}")


def _login(call: SoapCall) -> str:
    if call.version >= NO_LOGIN_FROM:
        raise SoapFault("UNSUPPORTED_API_VERSION", f"SOAP login() is not available from version {NO_LOGIN_FROM}.0")
    fault = call.org.faults.take("login", {"grant": "soap"})
    if fault or not (call.text("username") and call.text("password")):
        raise SoapFault("INVALID_LOGIN", "Invalid username, password, security token; or user locked out.")
    user_id = call.org.user_named(call.text("username"))
    base = f"{instance_url(call.request)}/services/Soap"
    door = call.request.path_params["wsdl"]
    result = {
        "metadataServerUrl": f"{base}/m/{call.version}.0/{call.org.id}",
        "passwordExpired": False,
        "sandbox": True,
        "serverUrl": f"{base}/{door}/{call.version}.0/{call.org.id}",
        "sessionId": call.org.open_session(user_id),
        "userId": user_id,
        "userInfo": _user_info(call.org, user_id),
    }
    return _element("result", result)


def _user_info(org: Org, user_id: str) -> dict[str, Any]:
    """In the order of GetUserInfoResult: organizationId is its ninth element."""
    user = org.tables["User"].records[user_id]
    return {
        "accessibilityMode": False,
        "chatterExternal": False,
        "currencySymbol": "$",
        "orgAttachmentFileSizeLimit": 26_214_400,
        "orgDefaultCurrencyIsoCode": "USD",
        "orgDefaultCurrencyLocale": "en_US",
        "orgDisallowHtmlAttachments": False,
        "orgHasPersonAccounts": False,
        "organizationId": org.id,
        "organizationMultiCurrency": False,
        "organizationName": "Sandbox",
        "profileId": "00egK0000000001AAA",
        "roleId": None,
        "sessionSecondsValid": 7200,
        "userDefaultCurrencyIsoCode": None,
        "userEmail": user.get("Email"),
        "userFullName": user.get("Name"),
        "userId": user_id,
        "userLanguage": "en_US",
        "userLocale": "en_US",
        "userName": user["Username"],
        "userTimeZone": "America/New_York",
        "userType": "Standard",
        "userUiSkin": "Theme3",
    }


def _get_user_info(call: SoapCall) -> str:
    return _element("result", _user_info(call.org, call.user_id()))


def _logout(call: SoapCall) -> str:
    call.user_id()
    call.org.sessions.pop(call.token)
    return ""


def _each(call: SoapCall, items: Iterable[Any], act: Callable[[Transaction, Any], Mapping[str, Any]]) -> str:
    """One result an item, in order; a refused item leaves the others alone."""
    work = call.transaction()
    results = []
    for item in items:
        before = len(work.changes)
        try:
            results.append({**act(work, item), "success": True})
        except RecordError as error:
            work.undo(keep=before)
            results.append({"errors": {"message": error.message, "statusCode": error.code}, "success": False})
    work.commit()
    return "".join(_element("result", result) for result in results)


def _convert_lead(call: SoapCall) -> str:
    def act(work: Transaction, element: ET.Element) -> Mapping[str, Any]:
        return convert(work, Conversion.of(_texts(element)))

    return _each(call, [each for each in call.verb if _tag(each) == "leadConverts"], act)


def _undelete(call: SoapCall) -> str:
    def act(work: Transaction, element: ET.Element) -> Mapping[str, Any]:
        record_id = element.text or ""
        work.undelete(call.sobject_of(record_id), record_id)
        return {"id": record_id}

    return _each(call, [each for each in call.verb if _tag(each) == "ids"], act)


def _merge(call: SoapCall) -> str:
    def act(work: Transaction, element: ET.Element) -> Mapping[str, Any]:
        master = _texts(next(each for each in element if _tag(each) == "masterRecord"))
        losers = [each.text or "" for each in element if _tag(each) == "recordToMergeIds"]
        master_id = master.pop("Id", "") or master.pop("id", "")
        master.pop("type", None)
        merge(work, call.sobject_of(master_id), master_id, losers, master)
        return {"id": master_id}

    return _each(call, [each for each in call.verb if _tag(each) == "request"], act)


_VERBS: Mapping[str, Callable[[SoapCall], str]] = {
    "login": _login,
    "logout": _logout,
    "getUserInfo": _get_user_info,
    "convertLead": _convert_lead,
    "undelete": _undelete,
    "merge": _merge,
}
