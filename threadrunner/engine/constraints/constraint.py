"""What an answer must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from threadrunner.engine.constraints import gbnf, json_schema
from threadrunner.engine.llama.errors import BadGrammar


@dataclass(frozen=True, slots=True)
class Constraint:
    """A schema or a grammar, checked; a Guide makes matchers of it."""

    grammar: str
    """In llguidance's own form."""
    deep: bool = False
    """Native code needs a large stack to read it."""

    @classmethod
    def of_schema(cls, schema: dict[str, Any] | bool, *, lenient: bool = False) -> Constraint:
        """JSON that fits a JSON Schema; True: any JSON. `lenient` leaves out what cannot be held while generating.
        Raises BadGrammar, with the place of what cannot be held."""
        return cls(*json_schema.to_grammar(schema, lenient=lenient))

    @classmethod
    def of_gbnf(cls, text: str) -> Constraint:
        """llama.cpp's own grammars. Raises BadGrammar, with the place."""
        lark = cls.of_lark(gbnf.to_lark(text))
        if error := json_schema.problem(lark.grammar):
            raise BadGrammar(f"the grammar cannot be held: {error.splitlines()[0]}")
        return lark

    @classmethod
    def of_lark(cls, text: str) -> Constraint:
        """llguidance's Lark, as our own markup is written in: it may name tokens of one model (`<|tool|>`), so nothing
        is checked before a Guide makes a matcher."""
        from llguidance import LLMatcher

        return cls(LLMatcher.grammar_from_lark(text), deep=text.count("{") > json_schema.SHALLOW)
