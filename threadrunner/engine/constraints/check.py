"""A finished answer against all of its schema: for what cannot be held while generating."""

from __future__ import annotations

import json
from typing import Any

from threadrunner.engine.constraints.bounded import TooLong, bounded
from threadrunner.engine.llama.errors import BadGrammar

MAX_SECONDS = 2.0
"""Of computing. A pattern may take for ever (`(a+)+$`)."""


class SchemaCheck:
    """One schema, ready to check answers."""

    def __init__(self, schema: dict[str, Any] | bool) -> None:
        """Raises BadGrammar for what is no schema."""
        from referencing import Registry

        kind = _kind(schema)
        registry: Registry[Any] = Registry()  # without one, jsonschema would fetch what a $ref names
        self._validator = kind(schema, registry=registry)

    def problem(self, text: str) -> str | None:
        """What is wrong with an answer, None for one that fits. Raises BadGrammar for a schema that cannot be checked,
        or not in time."""
        try:
            value = json.loads(text)
        except ValueError as error:
            return f"no JSON: {error}"
        except RecursionError:
            return "it nests deeper than can be read"
        try:
            with bounded(MAX_SECONDS):
                found = next(iter(self._validator.iter_errors(value)), None)
        except TooLong:
            raise BadGrammar(f"the schema cannot be checked within {MAX_SECONDS:.0f} s") from None
        except Exception as error:  # what a schema is wrong with may be met only here, as a TypeError for one
            raise BadGrammar(f"the schema cannot be checked: {str(error) or type(error).__name__}") from None
        return None if found is None else f"at {_pointer(found.absolute_path)}: {found.message[:200]}"


def _kind(schema: dict[str, Any] | bool) -> Any:
    """jsonschema's validator for it: of the draft that it names, else the newest one that it is right in. Raises
    BadGrammar."""
    from jsonschema import Draft7Validator, Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for

    if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
        raise BadGrammar("not a schema, at #/$schema: it is no text")
    try:
        newest = validator_for(schema, default=Draft202012Validator)
    except ValueError as error:  # it is split as an address
        raise BadGrammar(f"not a schema, at #/$schema: {error}") from None
    problem: SchemaError | None = None
    for kind in (newest, Draft7Validator):  # in the older one, tuples are a list under `items`
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            problem = problem or error
        else:
            return kind
    assert problem is not None
    raise BadGrammar(f"not a schema, at {_pointer(problem.absolute_path)}: {problem.message[:200]}")


def _pointer(path: Any) -> str:
    return "/".join(["#", *map(str, path)])
