"""The schemas of the OpenAPI document: the envelope of responses, and the models of the routes."""

from collections.abc import Mapping, Sequence
from typing import Any

from openapi_pydantic.v3.v3_1 import DataType, Reference, Schema
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from workers.ingress.route import Route

SCHEMA_REF = "#/components/schemas/{model}"

AnySchema = Reference | Schema
BodyKey = tuple[str, str | int]  # the route's name, and a request's media type or a status
BodySchemas = Mapping[BodyKey, Schema]

STRING = Schema(type=DataType.STRING)
INTEGER = Schema(type=DataType.INTEGER)
BOOLEAN = Schema(type=DataType.BOOLEAN)


def ref(model: str) -> Reference:
    """Refer to a schema of the document's components."""
    return Reference(**{"$ref": SCHEMA_REF.format(model=model)})


def object_schema(properties: Mapping[str, AnySchema], *, optional: Sequence[str] = ()) -> Schema:
    """Describe an object whose properties are all required but for the ``optional`` ones."""
    required = [name for name in properties if name not in optional]
    return Schema(type=DataType.OBJECT, required=required, properties=dict(properties))


ENVELOPE_SCHEMAS: Mapping[str, Schema] = {
    "Meta": object_schema(
        {
            "timestamp": Schema(type=DataType.STRING, schema_format="date-time"),
            "request_id": STRING,
        }
    ),
    "Pagination": object_schema(
        {
            "total": INTEGER,
            "page": INTEGER,
            "per_page": INTEGER,
            "total_pages": INTEGER,
            "has_next": BOOLEAN,
            "has_prev": BOOLEAN,
        }
    ),
    "Error": object_schema(
        {
            "success": Schema(const=False),
            "error": object_schema(
                {
                    "code": STRING,
                    "message": STRING,
                    "details": Schema(
                        type=DataType.ARRAY,
                        items=object_schema({"field": STRING, "message": STRING}),
                    ),
                },
                optional=["details"],
            ),
            "meta": ref("Meta"),
        }
    ),
}


def to_envelope(data: AnySchema, *, paged: bool) -> Schema:
    """Describe a successful response whose envelope holds ``data``."""
    properties = {"success": Schema(const=True), "data": data, "meta": ref("Meta")}
    if paged:
        properties["pagination"] = ref("Pagination")
    return object_schema(properties)


def build_body_schemas(routes: Sequence[Route]) -> tuple[BodySchemas, dict[str, Schema]]:
    """Build the schemas of all request and response bodies, and those that they refer to."""
    inputs: list[tuple[BodyKey, JsonSchemaMode, TypeAdapter[Any]]] = []
    for route in routes:
        for media_type, shape in route.media.items():
            inputs.append(((route.name, media_type), "validation", TypeAdapter(shape)))
        for response in route.responses:
            if response.data:
                key = (route.name, response.status)
                inputs.append((key, "serialization", TypeAdapter(response.data)))
    generated, components = TypeAdapter.json_schemas(
        inputs, by_alias=False, ref_template=SCHEMA_REF
    )
    bodies = {key: to_schema(schema) for (key, _), schema in generated.items()}
    definitions = components.get("$defs", {})
    return bodies, {name: to_schema(part) for name, part in definitions.items()}


def to_schema(generated: Mapping[str, Any]) -> Schema:
    """Wrap a JSON Schema that pydantic has generated.

    It is not validated: ``Schema`` would turn integer bounds into floats, which cannot hold
    2**63 - 1.
    """
    return Schema.model_construct(**generated)
