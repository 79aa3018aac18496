"""Tests CloudEvents 1.0.2 over HTTP; each rule names its section.

HTTP is the HTTP protocol binding, JSON the JSON event format, CE the core specification. An
event that is taken is looked at as it was published; one that is refused names its field.
"""

import base64
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import pytest
from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.workers.ingress.api.test_events import BATCH, PATH, STRUCTURED, post, report
from tests.workers.ingress.conftest import SOURCE, Spy, body_of, error_of
from tests.workers.ingress.http.test_single_headers import send

TYPE = "campaign.metrics_reported.v1"
HEADERS = {"ce-specversion": "1.0", "ce-id": "m-1", "ce-source": SOURCE, "ce-type": TYPE}
DATA = report()["data"]
WRITTEN = {**DATA, "mode": "cumulative"}


def packed(data: bytes) -> dict[str, Any]:
    event = report(data_base64=base64.b64encode(data).decode())
    del event["data"]
    return event


TAKEN_BINARY = [
    # headers beside those that every event has, what is published
    ({"ce-specversion": '"1.0"'}, {"specversion": "1.0"}),  # HTTP 3.1.3.2: quotes are read over
    ({"ce-id": '"m-1"'}, {"id": "m-1"}),
    ({"ce-id": r'"a\"b\\c"'}, {"id": r'a"b\c'}),
    ({"ce-id": '"m%201"'}, {"id": "m 1"}),  # quotes first, then one round of percent-decoding
    ({"ce-id": "m%2520"}, {"id": "m%20"}),  # one round
    ({"ce-id": "%6D%2D1"}, {"id": "m-1"}),  # needlessly encoded MUST be accepted
    ({"ce-id": "Euro%20%E2%82%AC%20%F0%9F%98%80"}, {"id": "Euro \u20ac \U0001f600"}),
    ({"ce-id": "m%e2%82%ac"}, {"id": "m\u20ac"}),
    ({"ce-id": "100%"}, {"id": "100%"}),
    ({"CE-ID": "m-2"}, {"id": "m-2"}),  # HTTP 3.1.3: names in any case
    ({"ce-comext": "kept"}, {"comext": "kept"}),  # CE "Extension Context Attributes"
    ({"ce-comext": "%22q%22"}, {"comext": '"q"'}),
    ({"ce-time": "2026-11-21T08:00:00+01:00"}, {"time": "2026-11-21T08:00:00+01:00"}),
    ({"Content-Type": "application/json; charset=UTF-8"}, {"datacontenttype": "application/json"}),
    ({"Content-Type": 'APPLICATION/JSON;charset="utf-8"'}, {"datacontenttype": "application/json"}),
    ({"Content-Type": "application/vnd.acme+json"}, {"datacontenttype": "application/json"}),
]


async def send_binary(
    client: aiohttp.ClientSession, key: str, headers: dict[str, str]
) -> tuple[int, Any]:
    given = {"Content-Type": "application/json", "X-API-Key": key, **HEADERS, **headers}
    if "CE-ID" in given:
        del given["ce-id"]
    return await send(client, "POST", PATH, list(given.items()), orjson.dumps(DATA))


async def test_binary_mode_is_read(client: aiohttp.ClientSession, api_key: str, spy: Spy) -> None:
    for headers, published in TAKEN_BINARY:
        status, answer = await send_binary(client, api_key, headers)
        assert status == 202, (headers, answer)
        event = await spy.event()
        assert event["data"]["clicks"] == 2
        assert {name: event[name] for name in published} == published, headers


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
TRACES: list[tuple[dict[str, str], dict[str, Any], str | None, str | None]] = [
    # request headers, attributes of the event, traceparent and tracestate of what is published
    ({}, {}, None, None),
    ({"traceparent": TRACEPARENT, "tracestate": "a=1 , b=2"}, {}, TRACEPARENT, "a=1,b=2"),
    ({"TRACEPARENT": f"cc{TRACEPARENT[2:]}-more"}, {}, TRACEPARENT, None),
    ({"traceparent": TRACEPARENT, "tracestate": "a=1,a=2"}, {}, TRACEPARENT, None),
    ({"traceparent": f"ff{TRACEPARENT[2:]}", "tracestate": "a=1"}, {}, None, None),
    ({"traceparent": TRACEPARENT, "tracestate": "a=1"}, {"traceparent": OTHER}, OTHER, None),
    ({"traceparent": TRACEPARENT}, {"traceparent": "x", "tracestate": "a=1"}, TRACEPARENT, None),
    ({}, {"traceparent": OTHER, "tracestate": "a=1"}, OTHER, "a=1"),
    ({}, {"traceparent": {"no": ["text"]}, "tracestate": 7}, None, None),
    ({}, {"traceparent": "0" * 3000, "tracestate": "x" * 3000}, None, None),
]


async def test_a_trace_context_is_carried_and_never_a_reason_to_reject_an_event(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    for headers, attributes, traceparent, tracestate in TRACES:
        answer = await post(client, api_key, report(**attributes), **headers)
        await body_of(answer, 202)
        message = await spy.message()
        event = orjson.loads(message.body)
        found = (event.get("traceparent"), event.get("tracestate"))
        assert found == (traceparent, tracestate), (headers, attributes)
        assert message.headers.get("traceparent") == traceparent
        assert message.headers.get("tracestate") == tracestate


async def test_a_trace_context_in_binary_mode_is_no_reason_to_reject_an_event(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    for value, counts in ((TRACEPARENT, TRACEPARENT), ('"x', None), ("%ff", None), ("", None)):
        status, answer = await send_binary(client, api_key, {"ce-traceparent": value})
        assert status == 202, (value, answer)
        assert (await spy.event()).get("traceparent") == counts


async def test_several_tracestate_headers_are_one_list(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    given = [("Content-Type", STRUCTURED), ("X-API-Key", api_key), ("traceparent", TRACEPARENT)]
    states = [("tracestate", "a=1"), ("tracestate", ""), ("Tracestate", "b=2,c=3")]
    status, _ = await send(client, "POST", PATH, [*given, *states], orjson.dumps(report()))
    assert status == 202
    assert (await spy.event())["tracestate"] == "a=1,b=2,c=3"
    twice = [*given, ("traceparent", OTHER)]
    status, _ = await send(client, "POST", PATH, twice, orjson.dumps(report()))
    assert status == 202
    assert "traceparent" not in await spy.event()


REFUSED_BINARY = [
    ({"ce-id": '"m-1'}, "ce-id"),  # a quote without its end
    ({"ce-id": '"a"b"'}, "ce-id"),
    ({"ce-id": '"m-1\\"'}, "ce-id"),
    ({"ce-id": "m%C0%A0"}, "ce-id"),  # HTTP 3.1.3.2: what is invalid in UTF-8 MUST be rejected
    ({"ce-comext": "%ff"}, "ce-comext"),
    ({"ce-id": ""}, "id"),  # CE: MUST be a non-empty string
    ({"ce-id": '""'}, "id"),
    ({"ce-source": ""}, "source"),
    ({"ce-subject": ""}, "subject"),
    ({"ce-dataschema": ""}, "dataschema"),
    ({"ce-id": "m%00"}, "id"),  # CE "Type System": no control characters
    ({"ce-id": "m%C2%85"}, "id"),
    ({"ce-id": "m%EF%BF%BF"}, "id"),  # no noncharacters
    ({"ce-comext": "a%0Ab"}, "comext"),
    ({"ce-specversion": "0.3"}, "specversion"),
    ({"ce-specversion": "1"}, "specversion"),
    ({"ce-time": "yesterday"}, "time"),
    ({"ce-time": "1732262400"}, "time"),
    ({"ce-com_ext": "x"}, "com_ext"),  # CE "Naming Conventions": lower-case letters and digits
    ({"ce-com-ext": "x"}, "com-ext"),
    ({"ce-datacontenttype": "application/json"}, "ce-datacontenttype"),  # HTTP 3.1.1
    ({"ce-type": "com.acme.other"}, "type"),
]


async def test_invalid_binary_events_are_rejected_with_the_name_of_the_field(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    for headers, field in REFUSED_BINARY:
        status, answer = await send_binary(client, api_key, headers)
        assert status == 400, headers
        assert [line["field"] for line in answer["error"]["details"]] == [field], headers
    assert spy.is_empty()


async def test_a_quoted_id_is_the_same_event(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    ids = []
    for text in ("m-1", '"m-1"', "%6d-1"):
        headers = {"Content-Type": "application/json", "X-API-Key": api_key, **HEADERS}
        response = await client.post(PATH, json=DATA, headers={**headers, "ce-id": text})
        ids += [line["id"] for line in (await body_of(response, 202))["data"]]
        ids.append((await spy.event())["id"])
    assert set(ids) == {"m-1"}


TAKEN_STRUCTURED: list[tuple[dict[str, Any] | bytes, dict[str, Any]]] = [
    (report(comext="x", comint=2**63 - 1, combool=True), {"comint": 2**63 - 1, "combool": True}),
    (report(comint=-(2**63), comnumber=1.5), {"comint": -(2**63), "comnumber": 1.5}),
    (report(subject=None, comext=None, dataschema=None), {"id": "m-1"}),  # JSON 2.2: null is unset
    (report(time=None, datacontenttype=None), {"datacontenttype": "application/json"}),
    (report(datacontenttype="application/json"), {}),
    (report(datacontenttype="Application/JSON; charset=utf-8"), {}),
    (report(datacontenttype="application/vnd.acme+json"), {"datacontenttype": "application/json"}),
    (packed(orjson.dumps(DATA)), {"datacontenttype": "application/json"}),  # JSON 3.1.1
    (orjson.dumps(report(comext='a":b'), option=orjson.OPT_INDENT_2), {"comext": 'a":b'}),
    (orjson.dumps(report()).replace(b'":', b'" : '), {}),
]


@pytest.mark.parametrize("kind", [STRUCTURED, BATCH])
async def test_structured_mode_is_read_alone_and_in_a_batch(
    client: aiohttp.ClientSession, api_key: str, spy: Spy, kind: str
) -> None:
    for event, published in TAKEN_STRUCTURED:
        body = event if isinstance(event, bytes) else orjson.dumps(event)
        sent = b"[" + body + b"]" if kind == BATCH else body
        await body_of(await post(client, api_key, sent, kind), 202)
        found = await spy.event()
        assert found["data"] == WRITTEN
        assert {name: found[name] for name in published} == published
        assert None not in found.values()


def raw(**parts: str) -> bytes:
    """Write an event of which some members are written as they are given."""
    event = {name: orjson.dumps(value).decode() for name, value in report().items()}
    members = ",".join(f'"{name}":{text}' for name, text in {**event, **parts}.items())
    return b"{" + members.encode("utf-8", "surrogatepass") + b"}"


REFUSED_STRUCTURED = [
    (raw(comext="NaN"), "comext"),
    (raw(comext="Infinity"), "comext"),
    (raw(comext="-Infinity"), "comext"),
    (raw(comext="1e999"), "comext"),
    (raw(comext="9223372036854775808"), "comext"),
    (raw(comext="-9223372036854775809"), "comext"),
    (raw(comext="1" * 400), "comext"),
    (raw(comext="[1]"), "comext"),  # CE "Type System": no lists, no objects
    (raw(comext='{"a": 1}'), "comext"),
    (raw(comext='"\\ud800"'), "comext"),  # JSON: no lone surrogates
    (raw(comext='"a\\u0000"'), "comext"),
    (raw(comext='"1","comext":"2"'), "comext"),  # RFC 8259, section 4: which of them counts?
    (raw(comext='"1","comext":"1"'), "comext"),
    (raw(comext='"1","comext" :"1"'), "comext"),
    (raw(comext='"1","com\\u0065xt":"1"'), "comext"),
    (raw(id='"m-1","id":"m-2"'), "id"),
    (raw(data='{"platform":"gemini","platform":"claude"}'), "data.platform"),
    (raw(data=orjson.dumps(DATA).decode()[:-1] + ',"clicks":3}'), "data.clicks"),
    (raw(data=orjson.dumps(DATA).decode().replace("1.25", "NaN")), "data.spend"),
    (raw(data=orjson.dumps(DATA).decode().replace("1.25", "1e999")), "data.spend"),
    (raw(data=orjson.dumps(DATA).decode().replace(":2,", f":{2**63},")), "data.clicks"),
    (raw(id="null"), "id"),
    (raw(id="5"), "id"),
    (raw(id='""'), "id"),
    (raw(source='""'), "source"),
    (raw(subject='""'), "subject"),
    (raw(specversion="1.0"), "specversion"),
    (raw(time="1732262400"), "time"),
    (raw(Comext='"x"'), "comext"),
    (raw(com_ext='"x"'), "com_ext"),
    (raw(data_base64='"e30="'), "data_base64"),  # JSON 3.1: data and data_base64 exclude each other
    (raw(datacontenttype='"text/xml"'), "datacontenttype"),
]


async def test_invalid_structured_events_are_rejected_with_the_name_of_the_field(
    client: aiohttp.ClientSession, api_key: str, spy: Spy
) -> None:
    for body, field in REFUSED_STRUCTURED:
        error = await error_of(await post(client, api_key, body), 400)
        assert field in [line["field"] for line in error["details"]], body
        response = await post(client, api_key, b"[" + body + b"]", BATCH)
        answer = await response.json()
        # Of an array that is read in two ways nothing is taken: 400.
        assert response.status == 400 or answer["data"][0]["status"] == "refused", body
    assert spy.is_empty()


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[1]"])
async def test_invalid_data_base64_is_rejected(
    client: aiohttp.ClientSession, api_key: str, data: bytes
) -> None:
    error = await error_of(await post(client, api_key, packed(data)), 400)
    assert error["details"][0]["field"].partition(".")[0] in ("data", "data_base64")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/cloudevents+json; charset=UTF-8", 202),  # HTTP 3.2.1
        ("Application/CloudEvents+JSON", 202),
        ('application/cloudevents+json;charset="utf-8"', 202),
        ("application/cloudevents+json; charset=utf-16", 415),
        ("application/cloudevents+json; charset=ISO-8859-1", 415),
        ("application/cloudevents+xml", 415),
        ("application/cloudevents+protobuf", 415),
        ("application/cloudevents", 415),
        ("application/cloudevents-batch+avro", 415),
    ],
)
async def test_the_media_type_decides_the_mode_and_the_format(
    client: aiohttp.ClientSession, api_key: str, kind: str, status: int
) -> None:
    response = await post(client, api_key, report(), kind, **{"ce-id": "not looked at"})
    assert response.status == status


SDK_EVENT = CloudEvent(
    attributes={
        "id": 'sdk "1" \u20ac 100%',
        "source": SOURCE,
        "type": TYPE,
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "subject": "a subject",
        "time": datetime(2026, 11, 21, 8, 0, 0, 500_000, tzinfo=UTC),
        "comext": "an extension",
    },
    data=DATA,
)


@pytest.mark.parametrize("write", [to_binary, to_structured])
async def test_the_python_sdk_is_understood(
    client: aiohttp.ClientSession, api_key: str, spy: Spy, write: Any
) -> None:
    message = write(SDK_EVENT, JSONFormat())
    headers = {**message.headers, "X-API-Key": api_key}
    await body_of(await client.post(PATH, data=message.body, headers=headers), 202)
    event = await spy.event()
    assert event["id"] == 'sdk "1" \u20ac 100%'
    assert event["time"] == "2026-11-21T08:00:00.500000Z"
    assert (event["subject"], event["comext"]) == ("a subject", "an extension")
    assert event["data"] == WRITTEN
