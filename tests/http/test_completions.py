"""OpenAI's older completions, on a tiny model: counts, log-probabilities and infilling are real."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.served import Served

PATH = "/v1/completions"
MODEL = "tiny.gguf"


def complete(prompt: Any, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": prompt, "max_tokens": 4, "temperature": 0, **more}


def test_an_answer_has_all_that_zed_requires(tiny: Served) -> None:
    body = tiny.post(PATH, complete("abc")).json
    assert body["id"].startswith("cmpl-") and body["object"] == "text_completion" and body["model"] == MODEL
    assert isinstance(body["created"], int)
    (choice,) = body["choices"]
    assert set(choice) == {"text", "index", "logprobs", "finish_reason"} and choice["finish_reason"] == "length"
    assert body["usage"]["prompt_tokens"] == 3 and body["usage"]["total_tokens"] == 7


def test_a_prompt_is_a_text_texts_ids_or_lists_of_ids(tiny: Served) -> None:
    ids = [ord("a") + 2 - 33, 65]
    for prompt, count in (("abc", 1), (["abc", "x"], 2), (ids, 1), ([ids, [70]], 2), (None, 1)):
        choices = tiny.post(PATH, complete(prompt)).json["choices"]
        assert [choice["index"] for choice in choices] == list(range(count)), prompt


@pytest.mark.parametrize("stream", [False, True])
def test_choices_of_several_prompts_are_numbered_on(tiny: Served, stream: bool) -> None:
    alone = [tiny.post(PATH, complete(prompt)).json["choices"][0]["text"] for prompt in ("abc", "zzz")]
    answer = tiny.post(PATH, complete(["abc", "zzz"], n=2, stream=stream, stream_options={"include_usage": True}))
    if not stream:
        assert [choice["text"] for choice in answer.json["choices"]] == [alone[0], alone[0], alone[1], alone[1]]
        return
    *chunks, done = answer.events
    assert done == "[DONE]" and chunks[-1]["usage"]["prompt_tokens"] == 6
    texts = ["", "", "", ""]
    reasons = []
    for chunk in chunks[:-1]:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
        reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
    assert texts == [alone[0], alone[0], alone[1], alone[1]] and reasons == ["length"] * 4


def test_logprobs_are_four_lists_with_echo_from_the_prompts_first_token(tiny: Served) -> None:
    (choice,) = tiny.post(PATH, complete("abc", logprobs=2, echo=True, max_tokens=1)).json["choices"]
    told = choice["logprobs"]
    assert choice["text"].startswith("abc")
    assert told["tokens"][:3] == ["a", "b", "c"] and told["text_offset"][:3] == [0, 1, 2]
    assert told["token_logprobs"][0] is None and told["top_logprobs"][0] is None
    assert all(value < 0 for value in told["token_logprobs"][1:]) and len(told["top_logprobs"][1]) == 2
    # What lm-evaluation-harness asks: nothing but the prompt's own.
    (choice,) = tiny.post(PATH, complete([[60, 61, 62]], logprobs=1, echo=True, max_tokens=0)).json["choices"]
    assert len(choice["logprobs"]["token_logprobs"]) == 3


def test_an_end_token_is_an_entry_too(tiny: Served) -> None:
    """lm-evaluation-harness takes what stands behind the context, but for the last."""
    ends = complete([[60, 61, 62]], logprobs=1, echo=True, max_tokens=1, logit_bias={"1": 1000})
    (choice,) = tiny.post(PATH, ends).json["choices"]
    assert choice["finish_reason"] == "stop" and len(choice["logprobs"]["token_logprobs"]) == 4
    assert all(value is not None for value in choice["logprobs"]["token_logprobs"][1:-1])


def test_the_texts_of_control_tokens_are_these_tokens(tiny: Served) -> None:
    rendered = tiny.post(PATH, complete("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")).json
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0}
    answer = tiny.post("/v1/chat/completions", chat).json
    assert rendered["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"] == 21
    assert rendered["choices"][0]["text"] == answer["choices"][0]["message"]["content"]


PREFIX, SUFFIX = "def f(x):\n    return ", "\n\nprint(f(1))\n"
WITH_MARKERS = [
    f"<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>",
    f"<fim_prefix>{PREFIX}<fim_suffix>{SUFFIX}<fim_middle>",
    f"<PRE> {PREFIX} <SUF>{SUFFIX} <MID>",
    f"[SUFFIX]{SUFFIX}[PREFIX]{PREFIX}",
]


@pytest.mark.parametrize("prompt", WITH_MARKERS)
def test_markers_of_any_family_and_a_suffix_are_infilled(tiny: Served, prompt: str) -> None:
    wanted = tiny.daemon.wire().call("infill", model=MODEL, prefix=PREFIX, suffix=SUFFIX, max_tokens=4, stream=False)
    for body in (complete(prompt), complete(PREFIX, suffix=SUFFIX)):
        answer = tiny.post(PATH, body).json
        assert answer["choices"][0]["text"] == wanted["text"]
        assert answer["usage"]["prompt_tokens"] == wanted["usage"]["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_echo_of_what_is_infilled(tiny: Served, stream: bool) -> None:
    answer = tiny.post(PATH, complete("abc", suffix="x", echo=True, stream=stream))
    first = answer.events[0] if stream else answer.json
    assert first["choices"][0]["text"].startswith("abc")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"best_of": 2}, "best_of"),
    ({"prompt": [1, "a"]}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["x"] * 257}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [[1_000_000]]}, "prompt_tokens"),
    ({"logprobs": 21}, "logprobs"),
    ({"n": 9}, "n"),
    ({"threadrunner": {"session": "s"}}, "/v1/chat/completions"),
]


@pytest.mark.parametrize(("more", "place"), WRONG)
def test_what_is_wrong_is_named(tiny: Served, more: dict[str, Any], place: str) -> None:
    answer = tiny.post(PATH, {**complete("abc"), **more})
    assert answer.status == 400 and place in answer.json["error"]["message"], answer.body


def test_what_cannot_matter_is_taken(tiny: Served) -> None:
    more = {"best_of": 0, "n": 1, "logit_bias": {"foo": 0}, "seed": -(2**53), "user": "me", "suffix": None}
    assert tiny.post(PATH, complete("abc", **more)).status == 200
