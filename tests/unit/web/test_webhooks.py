"""The calls we make, as the document tells them."""

from routing.offer import Notice
from web.main import app


def test_the_document_tells_every_call_that_a_partners_server_may_get() -> None:
    told = app().openapi()["webhooks"]
    assert set(told) == {str(notice) for notice in Notice}
    for call in told.values():
        assert call["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Call")
        assert {one["name"] for one in call["post"]["parameters"]} == {
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        }
        assert set(call["post"]["responses"]) == {"204", "410"}
