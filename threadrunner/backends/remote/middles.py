"""What a server is asked for a middle, in one of three ways, and where the middle ends: the rules of our own engine,
since a model hardly ever stops by itself. Pure."""

from __future__ import annotations

import msgspec

from threadrunner.api.errors import NotSupported
from threadrunner.api.generation import InfillParams
from threadrunner.backends.remote import bodies
from threadrunner.backends.remote.bodies import Body
from threadrunner.backends.remote.dialects import RemoteDialect
from threadrunner.engine.prompts.detokenizer import Cutter, Detokenizer
from threadrunner.engine.prompts.infill_ends import TimeBudget, middle_ends
from threadrunner.syntax import infill_families
from threadrunner.syntax.infill_families import InfillFamily

MIDDLE_TOKENS = 128
"""Where the request sets no limit."""


FAMILIES = {family.name: family for family in infill_families.FAMILIES}


def request(dialect: RemoteDialect, model: str, params: InfillParams, family: str) -> tuple[str, Body]:
    """The path and the body. Raises NotSupported."""
    if params.grammar is not None or params.json_schema not in (None, False):
        raise NotSupported("a middle on another machine has no grammar and no schema; leave them out")
    if family:
        return "/completions", _with_markers(dialect, model, params, FAMILIES[family])
    match dialect.infill:
        case "infill":
            return "//infill", _infill(dialect, model, params)
        case "suffix":
            prefix = _context(params) + params.prefix
            body = bodies.continuation(dialect, model, _limited(params), prefix)
            return "/completions", body | {"suffix": params.suffix}
    raise NotSupported(
        f"a server that speaks {dialect.name} completes no middle by itself; set `fim` to the model's family in its "
        "table of config.toml, if it has one"
    )


def _infill(dialect: RemoteDialect, model: str, params: InfillParams) -> Body:
    body: Body = {
        "model": model,
        "input_prefix": params.prefix,
        "input_suffix": params.suffix,
        "n_predict": _limited(params).max_tokens,
        "stream": True,
    }
    if params.context:
        body["input_extra"] = [{"filename": file.path, "text": file.text} for file in params.context]
    return body | bodies.sampling(dialect, params)


def _with_markers(dialect: RemoteDialect, model: str, params: InfillParams, marks: InfillFamily) -> Body:
    if not dialect.completions:
        raise bodies.refused(dialect, "raw prompts")
    prefix = _context(params) + params.prefix
    if marks.suffix_first:
        prompt = f"{marks.suf}{params.suffix}{marks.pre}{prefix}{marks.mid}"
    else:
        prompt = f"{marks.pre}{prefix}{marks.suf}{params.suffix}{marks.mid}"
    return bodies.continuation(dialect, model, _limited(params), prompt)


def _context(params: InfillParams) -> str:
    return "".join(f"# {file.path}\n{file.text}\n\n" for file in params.context)


def _limited(params: InfillParams) -> InfillParams:
    return msgspec.structs.replace(params, max_tokens=MIDDLE_TOKENS) if params.max_tokens is None else params


def ending(params: InfillParams) -> Detokenizer:
    """Takes the text as it arrives and tells where it ends."""
    ends: list[Cutter] = [middle_ends(params.prefix, params.suffix, params.language, params.path)]
    if params.max_time_ms is not None:
        ends.append(TimeBudget(min(params.max_time_ms, 86_400_000) / 1e3))
    return Detokenizer(params.stop, ends)
