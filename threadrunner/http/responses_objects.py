"""The objects of Responses: the response itself with every member that strict clients require, its items, its usage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from threadrunner.api.generation import Choice, Generated, TokenLogprob
from threadrunner.http import openai_objects
from threadrunner.http.failures import HttpFailure
from threadrunner.http.reading import Fields
from threadrunner.http.responses_input import sealed


def echoed(body: Fields, model: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The members that repeat what was asked, or say what holds where nothing was."""
    reasoning, text = body.object("reasoning"), body.object("text")
    return {
        "background": False,
        "conversation": None,
        "frequency_penalty": body.number("frequency_penalty") or 0.0,
        "instructions": body.text("instructions"),
        "max_output_tokens": body.whole("max_output_tokens"),
        "max_tool_calls": body.whole("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "parallel_tool_calls": body.flag("parallel_tool_calls") is not False,
        "presence_penalty": body.number("presence_penalty") or 0.0,
        "previous_response_id": None,
        "prompt": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {
            "effort": reasoning.text("effort") if reasoning else None,
            "summary": None,
        },
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": False,
        "temperature": 0.8 if (given := body.number("temperature")) is None else given,
        "text": {"format": (text.get("format") if text else None) or {"type": "text"}, "verbosity": "medium"},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": tools,
        "top_logprobs": body.whole("top_logprobs") or 0,
        "top_p": 0.95 if (share := body.number("top_p")) is None else share,
        "truncation": body.text("truncation") or "disabled",
        "user": body.get("user"),
    }


def told_tools(body: Fields) -> list[dict[str, Any]]:
    """The functions among the tools that were sent, with all members; the model was told of no others."""
    told = []
    for item in body.objects("tools"):
        if (item.text("type") or "function") == "function":
            tool = (item.object("function") or item).plain()
            told.append(
                {
                    "type": "function",
                    "name": tool.get("name"),
                    "description": tool.get("description"),
                    "parameters": tool.get("parameters"),
                    "strict": True,
                }
            )
    return told


@dataclass
class ResponseState:
    """One response; `now` is its object as it stands."""

    echo: dict[str, Any]
    seals: bool = False
    """Its thoughts come sealed too, to be sent back."""
    id: str = field(default_factory=lambda: openai_objects.new_id("resp_"))
    created: int = field(default_factory=lambda: int(time.time()))
    output: list[dict[str, Any]] = field(default_factory=list)

    def now(self, status: str, answer: Generated | None = None, failure: HttpFailure | None = None) -> dict[str, Any]:
        """`status`: in_progress, completed, incomplete or failed."""
        session = {} if answer is None or answer.session is None else {"threadrunner": {"session": answer.session}}
        return {
            **self.echo,
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "error": None if failure is None else {"code": _code(failure), "message": failure.message},
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": list(self.output),
            "usage": None if answer is None else usage(answer),
            **session,
        }


def status_of(answer: Generated) -> str:
    return "incomplete" if answer.finish_reason == "length" else "completed"


def _code(failure: HttpFailure) -> str:
    """Codex tells these apart from all other failures."""
    codes = {"context_length_exceeded": "context_length_exceeded", "overloaded": "rate_limit_exceeded"}
    return codes.get(failure.code or "", "server_error")


def usage(answer: Generated) -> dict[str, Any]:
    told = openai_objects.usage(answer)
    return {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": {**told["prompt_tokens_details"], "cache_write_tokens": 0},
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": told["completion_tokens_details"],
        "total_tokens": told["total_tokens"],
    }


def items(choice: Choice, state: ResponseState, status: str) -> list[dict[str, Any]]:
    """A whole answer's items: thought, text, calls. One that is cut ends with what is incomplete."""
    made = []
    if choice.reasoning:
        made.append(reasoning_item(openai_objects.new_id("rs_"), choice.reasoning, state.seals, "completed"))
    if choice.text or not choice.tool_calls:
        logprobs = choice.logprobs or []
        made.append(message_item(openai_objects.new_id("msg_"), choice.text, "completed", logprobs))
    made += [
        call_item(openai_objects.new_id("fc_"), call.id, call.function.name, str(call.function.arguments), "completed")
        for call in choice.tool_calls or ()
    ]
    made[-1]["status"] = status
    return made


def reasoning_item(id: str, text: str, seals: bool, status: str) -> dict[str, Any]:
    return {
        "id": id,
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}] if text else [],
        "encrypted_content": sealed(text) if seals and text else None,
        "status": status,
    }


def message_item(id: str, text: str | None, status: str, logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
    """`text` None: there is no part yet."""
    content = [] if text is None else [text_part(text, logprobs)]
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
    told = openai_objects.chat_logprobs(logprobs)["content"]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}


def call_item(id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }
