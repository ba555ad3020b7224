"""OpenAI's Responses, with what Codex sends and what strict clients require."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.served import Reply, Served
from threadrunner.http.failures import HttpFailure
from threadrunner.http.reading import Fields
from threadrunner.http.responses_input import read_input, sealed

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}
REQUIRED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens",
    "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
"""Of the Open Responses specification; openai-python's strict parsing wants 24 of them."""


def ask(served: Served, given: Any = "hello", **more: Any) -> Reply:
    return served.post(PATH, {"model": "dummy", "input": given, **more})


def events(answer: Reply) -> list[tuple[str, dict[str, Any]]]:
    """Each with its name, which its data has too; their numbers have no gap."""
    names = [line.removeprefix("event: ") for line in answer.body.decode().split("\n") if line.startswith("event: ")]
    told = answer.events
    assert [event["type"] for event in told] == names
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return list(zip(names, told, strict=True))


def test_an_answer_has_every_member(served: Served) -> None:
    body = ask(served, instructions="be brief", store=True, metadata={"a": "b"}).json
    assert set(body) >= REQUIRED
    assert (body["object"], body["status"], body["store"], body["instructions"]) == (
        "response", "completed", False, "be brief",
    )  # fmt: skip
    (item,) = body["output"]
    assert item["type"] == "message" and item["role"] == "assistant" and item["status"] == "completed"
    assert item["id"].startswith("msg_")
    (part,) = item["content"]
    assert part == {
        "type": "output_text", "text": "lorem ipsum dolor sit amet hello.", "annotations": [], "logprobs": [],
    }  # fmt: skip
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert "cached_tokens" in usage["input_tokens_details"] and "reasoning_tokens" in usage["output_tokens_details"]


def test_a_stream_of_a_text(served: Served) -> None:
    told = events(ask(served, stream=True))
    names = [name.removeprefix("response.") for name, _ in told]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(names[4:-4]) == {"output_text.delta"}
    deltas = [event for name, event in told if name == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == told[-4][1]["text"] == "lorem ipsum dolor sit amet hello."
    for _, event in told[2:-1]:
        assert event["output_index"] == 0
        assert event.get("item_id", event.get("item", {}).get("id")) == told[2][1]["item"]["id"]
    assert told[0][1]["response"]["status"] == "in_progress" and told[0][1]["response"]["output"] == []
    last = told[-1][1]["response"]
    assert set(told[0][1]["response"]) >= REQUIRED and set(last) >= REQUIRED
    assert last["output"] == [told[-2][1]["item"]] and last["usage"]["output_tokens"] == 6
    assert b"[DONE]" not in ask(served, stream=True).body


SCRIPT = '!think of Bonn\n!call weather {"city": "Bonn"}\n!call weather {"city": "Ulm"}'


def test_a_stream_of_a_thought_and_calls(served: Served) -> None:
    told = events(ask(served, SCRIPT, tools=[TOOL], stream=True))
    names = [name.removeprefix("response.") for name, _ in told]
    assert names[2:4] == ["output_item.added", "content_part.added"] and told[2][1]["item"]["type"] == "reasoning"
    assert "reasoning_text.delta" in names and "reasoning_text.done" in names
    items = [event["item"] for name, event in told if name == "response.output_item.done"]
    assert [item["type"] for item in items] == ["reasoning", "function_call", "function_call"]
    assert items[0]["summary"] == [] and items[0]["content"] == [{"type": "reasoning_text", "text": "of Bonn"}]
    for number, (item, city) in enumerate(zip(items[1:], ("Bonn", "Ulm"), strict=True), 1):
        assert item["id"].startswith("fc_") and item["call_id"] != item["id"] and item["name"] == "weather"
        mine = [event for _, event in told if event.get("output_index") == number]
        deltas = [event["delta"] for event in mine if event["type"] == "response.function_call_arguments.delta"]
        (done,) = [event for event in mine if event["type"] == "response.function_call_arguments.done"]
        assert "".join(deltas) == done["arguments"] == item["arguments"] == f'{{"city": "{city}"}}'
    assert told[-1][1]["response"]["output"] == items


def test_whole_and_streamed_are_the_same(served: Served) -> None:
    whole = ask(served, SCRIPT, tools=[TOOL]).json
    last = events(ask(served, SCRIPT, tools=[TOOL], stream=True))[-1][1]["response"]

    def bare(response: dict[str, Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in response["output"]]

    assert bare(whole) == bare(last) and set(whole) == set(last)
    assert whole["tools"][0]["name"] == "weather" and whole["usage"] == last["usage"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_is_incomplete(served: Served, stream: bool) -> None:
    answer = ask(served, max_output_tokens=2, stream=stream)
    if stream:
        name, last = events(answer)[-1]
        assert name == "response.incomplete"
    body = last["response"] if stream else answer.json
    assert body["status"] == "incomplete" and body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert body["output"][-1]["status"] == "incomplete" and body["completed_at"] is None


def test_what_codex_sends_is_taken(served: Served) -> None:
    hosted = [
        {"type": "web_search"},
        {"type": "local_shell"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace"},
    ]
    answer = ask(
        served,
        [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        ],
        instructions="You are Codex.", tools=[TOOL, *hosted], tool_choice="auto", parallel_tool_calls=False,
        store=False, stream=True, include=["reasoning.encrypted_content"], prompt_cache_key="x",
        reasoning={"effort": None}, text={"verbosity": "low"}, client_metadata={"a": "b"}, service_tier="priority",
    )  # fmt: skip
    assert answer.status == 200, answer.body
    assert [tool["name"] for tool in events(answer)[-1][1]["response"]["tools"]] == ["weather"]
    probe = ask(served, [], max_output_tokens=1)
    assert probe.status == 200, probe.body


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "c"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"background": True}, "background"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"temperature": -1}, "temperature"),
]


@pytest.mark.parametrize(("more", "place"), REFUSED)
def test_what_is_wrong_is_named(served: Served, more: dict[str, Any], place: str) -> None:
    answer = served.post(PATH, {"model": "dummy", "input": "hello", **more})
    error = answer.json["error"]
    assert answer.status == 400 and error["param"] == place and place in error["message"], answer.body


def test_copilot_reads_why_an_earlier_answer_is_not_known(served: Served) -> None:
    assert ask(served, previous_response_id="resp_1").json["error"]["code"] == "previous_response_not_found"


def test_a_conversation_that_the_daemon_keeps(served: Served) -> None:
    for text in ("one", "two"):
        body = ask(served, text, threadrunner={"session": "trip-2"}).json
        assert body["threadrunner"] == {"session": "trip-2"}
    shown = served.daemon.wire().call("sessions.show", session="trip-2")
    assert [turn["prompt"] for turn in shown["turns"]] == ["one", "two"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_and_logprobs(tiny: Served, stream: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["yes"]}}, "required": ["a"]}
    shape = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    answer = tiny.post(PATH, {"model": "tiny", "input": "hi", "text": shape, "top_logprobs": 2, "stream": stream})
    body = events(answer)[-1][1]["response"] if stream else answer.json
    (part,) = body["output"][0]["content"]
    assert part["text"] == '{"a": "yes"}' and body["text"]["format"] == shape["format"]
    assert "".join(token["token"] for token in part["logprobs"]) == part["text"]


def test_counting_is_what_an_answer_counts(tiny: Served) -> None:
    body = {"model": "tiny", "input": "hi", "instructions": "Be brief.", "tools": [TOOL], "max_output_tokens": 1}
    counted = tiny.post(f"{PATH}/input_tokens", body).json
    assert counted["object"] == "response.input_tokens"
    assert counted["input_tokens"] == tiny.post(PATH, body).json["usage"]["input_tokens"]
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    counted = tiny.post("/v1/chat/completions/input_tokens", chat).json
    assert counted["input_tokens"] == tiny.post("/v1/chat/completions", chat).json["usage"]["prompt_tokens"]


# items as messages


def messages(*items: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return read_input(Fields({"input": list(items), **more}))


USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "42"}


def test_instructions_and_systems_at_the_beginning_are_one() -> None:
    developer, system = {"role": "developer", "content": "b"}, {"role": "system", "content": "c"}
    assert messages(developer, system, USER, instructions="a") == [{"role": "system", "content": "a\n\nb\n\nc"}, USER]
    assert messages(USER, developer) == [USER, {"role": "system", "content": "b"}, {"role": "user", "content": ""}]


def test_a_thought_a_text_and_calls_are_one_message() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]}
    second = {**CALL, "call_id": "c2"}
    read = messages(USER, thought, said, CALL, second, OUTPUT, {**OUTPUT, "call_id": "c2"})
    assert [message["role"] for message in read] == ["user", "assistant", "tool", "tool"]
    assert read[1]["content"] == "so" and read[1]["reasoning"] == "t"
    assert [call["id"] for call in read[1]["tool_calls"]] == ["c1", "c2"] and read[2]["content"] == "42"


def test_a_thought_comes_back_as_codex_sends_it() -> None:
    thought = {"type": "reasoning", "summary": [], "encrypted_content": sealed("hm ö")}
    assert messages(USER, thought, CALL, OUTPUT)[1]["reasoning"] == "hm ö"
    foreign = {**thought, "encrypted_content": "gAAAAB"}
    assert "reasoning" not in messages(USER, foreign, CALL, OUTPUT)[1]


def test_calls_of_tools_that_another_model_had() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"}
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done"}
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    read = messages(USER, custom, output, searched)
    assert read[1]["tool_calls"][0]["function"] == {"name": "apply_patch", "arguments": '{"input":"*** Begin"}'}
    assert len(read) == 3 and read[2]["content"] == "Done"


def test_an_answer_at_the_end_is_continued_and_two_are_refused() -> None:
    said = {"role": "assistant", "content": "The"}
    assert messages(USER, said)[-1]["content"] == "The"
    with pytest.raises(HttpFailure, match="join them"):
        messages(USER, said, {"type": "reasoning", "summary": [{"text": "t"}]}, said)
