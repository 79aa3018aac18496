"""The form of a letter: its rows, and what it changes in both content modes."""

from typing import Any

import orjson
import pytest

from events import EVENT_TYPES
from infra.messaging.dead_letter_content import DeadLetterContent, InvalidChange, apply_changes
from tests.workers.ops.letters import KIND, figures
from workers.ops.letter_form.changes import REMOVE, read_changes
from workers.ops.letter_form.rows import FormRow, build_rows
from workers.ops.letter_form.rules import list_rules

LIMIT = 262_144
CREATE = "campaign.create_requested.v1"


def structured(body: bytes, kind: str = KIND) -> DeadLetterContent:
    properties = {"content_type": "application/cloudevents+json", "type": kind, "headers": {}}
    return DeadLetterContent(body, properties, kind)


def binary(body: bytes, **attributes: str) -> DeadLetterContent:
    named = {"id": "e-1", "source": "urn:x", "type": KIND, "specversion": "1.0", **attributes}
    headers = {f"cloudEvents_{name}": value for name, value in named.items()}
    properties = {"content_type": "application/json", "type": KIND, "headers": headers}
    return DeadLetterContent(body, properties, KIND)


def by_label(content: DeadLetterContent, original: bytes | None = None) -> dict[str, FormRow]:
    rows = build_rows(content, original, ())
    assert rows is not None
    return {row.label: row for row in rows}


def edited(content: DeadLetterContent, **typed: str) -> DeadLetterContent:
    """Type into the form by label; ``remove_<label>`` ticks a box."""
    rows = by_label(content)
    form = {row.name: row.text for row in rows.values() if not row.is_gone}
    for label, text in typed.items():
        if label.startswith("remove_"):
            form[REMOVE + rows[label.removeprefix("remove_")].name] = text
        else:
            form[rows[label.replace("__", ".")].name] = text
    changes = read_changes(content, list(rows.values()), form)
    return apply_changes(content, changes, LIMIT)


def data(content: DeadLetterContent) -> Any:
    found = orjson.loads(content.body)
    return found if content.binary else found["data"]


def test_each_event_type_has_a_rule_for_each_field() -> None:
    for cls in EVENT_TYPES.values():
        rules = list_rules(cls)
        assert all(rule.rule for rule in rules)
        assert {"id", "source", "type", "time"} <= {rule.path[0] for rule in rules}
        assert any(rule.path[0] == "data" for rule in rules)
    found = {".".join(rule.path): rule for rule in list_rules(EVENT_TYPES[CREATE])}
    assert found["data.platform"].rule == "claude, chatgpt or gemini"
    assert found["data.name"].rule == "a text of 1 to 100 characters"
    assert found["data.targeting.interests"].rule == "a list of 0 to 100 values, as JSON"
    assert found["data.budget"].kind == "number"


def test_the_form_says_what_is_there_what_is_unknown_and_what_was() -> None:
    came = figures(spend=None, spend_eur=1.5, conversions="n/a")
    rows = by_label(structured(came))
    assert rows["platform"].rule.choices == ("claude", "chatgpt", "gemini")
    assert (rows["spend"].text, rows["spend"].is_absent) == ("", True)
    assert (rows["spend_eur"].text, rows["spend_eur"].is_known) == ("1.5", False)
    rows = by_label(structured(figures(conversions=0)), came)
    assert rows["conversions"].former == "n/a"
    assert rows["spend"].former == "missing"
    assert (rows["spend_eur"].is_gone, rows["spend_eur"].former) == (True, "1.5")
    assert rows["clicks"].former is None


def test_a_form_changes_what_was_typed_and_nothing_else() -> None:
    wrong = structured(figures(spend=None, spend_eur=1.5, conversions="n/a"))
    right = edited(wrong, spend="1.5", conversions="0", remove_spend_eur="on")
    assert right.body == figures()
    assert edited(wrong).body == wrong.body
    assert data(edited(wrong, conversions="many"))["conversions"] == "many"
    assert data(edited(wrong, clicks="true"))["clicks"] == "true", "a number or what was typed"
    assert "clicks" not in data(edited(wrong, clicks=""))
    assert orjson.loads(edited(wrong, id="e-17").body)["id"] == "e-17"


def test_fields_below_a_missing_object_bring_it_along() -> None:
    event = {"id": "e", "source": "urn:x", "type": CREATE, "data": {"name": "n"}}
    letter = structured(orjson.dumps(event), CREATE)
    found = data(edited(letter, targeting__interests='["tea"]', targeting__ageRange="[18, 30]"))
    assert found == {"name": "n", "targeting": {"interests": ["tea"], "ageRange": [18, 30]}}
    empty = structured(orjson.dumps({"id": "e", "source": "urn:x", "type": CREATE}), CREATE)
    assert data(edited(empty, name="n")) == {"name": "n"}


def test_what_no_line_of_text_can_hold_is_json() -> None:
    letter = structured(figures(platform_campaign_id="a\r\nb", date={"day": 1}))
    rows = by_label(letter)
    assert rows["platform_campaign_id"].text == '"a\\r\\nb"'
    assert rows["date"].text == '{"day":1}'
    assert data(edited(letter, date='"2026-11-29"'))["date"] == "2026-11-29"
    with pytest.raises(InvalidChange, match="this is no JSON"):
        edited(letter, date="2026-11-29")


def test_an_object_that_is_none_and_names_with_dots_have_a_row() -> None:
    event = {"data": {"targeting": "all", "a.b": 1, "platform": "claude"}}
    letter = structured(orjson.dumps(event), CREATE)
    rows = by_label(letter)
    assert rows["targeting"].text == '"all"'
    assert "targeting.interests" not in rows
    form = {REMOVE + rows["a.b"].name: "on"}
    changed = apply_changes(letter, read_changes(letter, list(rows.values()), form), LIMIT)
    assert data(changed) == {"targeting": "all", "platform": "claude"}


def test_attributes_of_a_binary_letter_are_rows_and_stay_headers() -> None:
    letter = binary(orjson.dumps({"clicks": 1, "note": "x"}), subject="s", tenant="acme")
    rows = by_label(letter)
    assert (rows["source"].text, rows["subject"].text) == ("urn:x", "s")
    assert rows["tenant"].rule.rule == "an extension attribute"
    changed = edited(letter, source="urn:y", subject="", clicks="2", remove_note="on")
    assert changed.headers["cloudEvents_source"] == "urn:y"
    assert "cloudEvents_subject" not in changed.headers
    assert data(changed) == {"clicks": 2}


@pytest.mark.parametrize(
    "content",
    [
        structured(b"{"),
        structured(b"[1]"),
        structured(b"\xff"),
        binary(b"[1]"),
        structured(figures(), "unknown.kind.v1"),
        structured(figures(platform="x" * 70_000)),
        structured(orjson.dumps({"data": {f"f{n}": 1 for n in range(300)}})),
    ],
    ids=["broken", "list", "bytes", "binary list", "unknown type", "large", "many"],
)
def test_what_has_no_form_has_none(content: DeadLetterContent) -> None:
    assert build_rows(content, None, ()) is None
