"""Renders the API as an OpenRPC document: `python -m threadrunner.api.openrpc > protocol/openrpc.json`."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from threadrunner.api import errors
from threadrunner.api.methods import METHODS, NOTIFICATIONS

_PLACE = "#/components/schemas/{name}"


def document() -> dict[str, Any]:
    """The whole document as JSON values. Its version is the wire's, not the program's."""
    types = [*{m.params for m in METHODS.values()}, *{m.result for m in METHODS.values()}, *NOTIFICATIONS.values()]
    types.sort(key=lambda type_: type_.__name__)
    _, schemas = msgspec.json.schema_components(types, ref_template=_PLACE)
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "ThreadRunner",
            "version": "2.0",
            "description": "JSON-RPC 2.0 over a Unix socket; see README.md beside this file. Params are by name.",
            "license": {"name": "MIT"},
        },
        "methods": [_method(name) for name in METHODS],
        "x-notifications": [
            {"name": name, "params": _ref(type_), "description": _doc(type_)} for name, type_ in NOTIFICATIONS.items()
        ],
        "x-errors": [
            {"code": code, "kind": cls.__name__, "description": _doc(cls)}
            for code, cls in sorted(errors.BY_CODE.items(), reverse=True)
            if cls not in errors.CLIENT_ONLY
        ],
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _method(name: str) -> dict[str, Any]:
    method = METHODS[name]
    _, schemas = msgspec.json.schema_components([method.params], ref_template=_PLACE)
    own = schemas[method.params.__name__]
    required = set(own.get("required", ()))
    return {
        "name": name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": [
            {"name": key, "required": key in required, "schema": value} for key, value in own["properties"].items()
        ],
        "result": {"name": "result", "schema": _ref(method.result)},
        "x-notifications": list(method.notifications),
    }


def _ref(type_: type) -> dict[str, str]:
    return {"$ref": _PLACE.format(name=type_.__name__)}


def _doc(type_: type) -> str:
    """The docstring that a person wrote; msgspec makes none, `object` has one."""
    return " ".join((type_.__doc__ or "").split())


if __name__ == "__main__":
    print(json.dumps(document(), indent=2, ensure_ascii=False))
