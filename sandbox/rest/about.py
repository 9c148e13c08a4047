"""What the org is made of: versions, resources, describes, limits."""

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.errors import ApiError
from sandbox.rest.call import NEWEST_VERSION, OLDEST_VERSION, Call, resource
from sandbox.schema import Field, SObject

_RULES_OF = re.compile(r"FROM ValidationRule WHERE EntityDefinition\.QualifiedApiName = '(\w+)'")
_NUMBERS = {"int", "double", "currency", "percent"}
_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "datetime": "xsd:dateTime",
    "date": "xsd:date",
    "address": "urn:address",
}


def _label(version: int) -> str:
    """20 was Winter '11, three a year since."""
    year, season = divmod(version - 20, 3)
    return f"{('Winter', 'Spring', 'Summer')[season]} '{11 + year:02d}"


async def versions(_request: Request) -> Response:
    listed = [
        {"label": _label(number), "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
        for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)
    ]
    return JSONResponse(listed)


@resource
async def resources(call: Call) -> Response:
    names = ("sobjects", "query", "queryAll", "limits")
    return JSONResponse({**{name: call.url(name) for name in names}, "composite": call.url("composite")})


@resource
async def objects(call: Call) -> Response:
    listed = [_summary(call, each) for each in call.org.types.values()]
    return JSONResponse({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})


@resource
async def basics(call: Call) -> Response:
    return JSONResponse({"objectDescribe": _summary(call, call.sobject()), "recentItems": []})


@resource
async def describe(call: Call) -> Response:
    sobject = call.sobject()
    fields = [_field(each) for each in sobject.fields]
    extra: dict[str, Any] = {"fields": fields, "childRelationships": [], "recordTypeInfos": [], "supportedScopes": []}
    return JSONResponse({**_summary(call, sobject), **extra})


def _summary(call: Call, sobject: SObject) -> dict[str, Any]:
    can = ("createable", "updateable", "deletable", "queryable", "retrieveable", "searchable", "undeletable")
    return {
        "name": sobject.name,
        "label": sobject.label,
        "labelPlural": f"{sobject.label}s",
        "keyPrefix": sobject.prefix,
        "custom": sobject.custom,
        **dict.fromkeys((*can, "replicateable", "triggerable", "layoutable"), True),
        **dict.fromkeys((what for what in can if f"{sobject.name}.{what}" in call.org.options.forbidden), False),
        "mergeable": sobject.name in {"Lead", "Account", "Contact"},
        "urls": {
            "sobject": call.url(f"sobjects/{sobject.name}"),
            "describe": call.url(f"sobjects/{sobject.name}/describe"),
            "rowTemplate": call.url(f"sobjects/{sobject.name}/{{ID}}"),
        },
    }


def _field(each: Field) -> dict[str, Any]:
    writable = not (each.readonly or each.type == "id")
    texts = each.type not in _NUMBERS
    defaulted = each.default is not None or each.type == "boolean" or each.name == "OwnerId"
    return {
        "name": each.name,
        "label": each.label,
        "type": "string" if each.type == "personname" else each.type,
        "soapType": _SOAP_TYPES.get(each.type, "xsd:string"),
        "length": {"id": 18, "reference": 18, "personname": 121}.get(each.type, each.length),
        "byteLength": each.length * 3 if texts else 0,
        "digits": each.precision if each.type == "int" else 0,
        "precision": 0 if each.type == "int" else each.precision,
        "scale": each.scale,
        "custom": each.custom,
        "createable": writable,
        "updateable": writable,
        "nillable": not (each.required or each.type in {"id", "boolean"}),
        "defaultedOnCreate": defaulted,
        "defaultValue": each.default,
        "externalId": each.external_id,
        "idLookup": each.external_id or each.type == "id",
        "unique": each.unique,
        "caseSensitive": False,
        "nameField": each.name == "Name",
        "calculated": False,
        "autoNumber": False,
        "filterable": each.type not in {"textarea", "address"},
        "sortable": each.type not in {"textarea", "address"},
        "groupable": each.type not in {"textarea", "address", "double"},
        "compoundFieldName": each.part_of or None,
        "referenceTo": list(each.to),
        "relationshipName": each.relationship or None,
        "polymorphicForeignKey": len(each.to) > 1,
        "restrictedPicklist": each.restricted,
        "picklistValues": [
            {"value": value, "label": value, "active": True, "defaultValue": value == each.default, "validFor": None}
            for value in each.values
        ],
        "permissionable": each.custom,
        "deprecatedAndHidden": False,
        "inlineHelpText": None,
    }


@resource
async def tooling(call: Call) -> Response:
    """The Tooling API as far as it tells the validation rules of one object."""
    asked = _RULES_OF.search(call.request.query_params.get("q", ""))
    sobject = call.org.sobject(asked[1]) if asked else None
    if sobject is None:
        raise ApiError(400, "MALFORMED_QUERY", "only SELECT ... FROM ValidationRule WHERE EntityDefinition... is known")
    active = call.org.options.version_rule
    rows = [{"ValidationName": rule.name, "Active": active} for rule in sobject.rules]
    return JSONResponse({"totalSize": len(rows), "done": True, "records": rows})


@resource
async def limits(call: Call) -> Response:
    today = call.org.clock.now_ms() // 86_400_000
    used, most = call.org.api_calls.get(today, 0), call.org.options.daily_api_requests
    delivered, allowed = call.org.delivered.get(today, 0), call.org.options.daily_delivered_events
    return JSONResponse(
        {
            "DailyApiRequests": {"Max": most, "Remaining": max(most - used, 0)},
            "DailyDeliveredPlatformEvents": {"Max": allowed, "Remaining": max(allowed - delivered, 0)},
            "DataStorageMB": {"Max": 1024, "Remaining": 1000},
            "HourlyPublishedPlatformEvents": {"Max": 250_000, "Remaining": 250_000},
        }
    )
