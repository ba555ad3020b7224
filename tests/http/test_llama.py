"""llama-server's own endpoints, over a real port: what llama.vim and llama.vscode send, and what they read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backends import tiny
from tests.http.served import Served, listening, sse
from tests.support import Daemon
from threadrunner.api.generation import Generated, Timings, Usage
from threadrunner.http.dialects.llama import objects
from threadrunner.http.dialects.llama.events import told
from threadrunner.http.exchange import Order

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>", "<|im_end|>")

VIM: dict[str, Any] = {
    "id_slot": 0,
    "input_prefix": "def add(a, b):\n",
    "input_suffix": "\n\nprint(add(1, 2))\n",
    "input_extra": [{"text": "SKY = 'blue'\n", "time": [1, 2], "filename": "sky.py"}, {"text": "x\n", "filename": ""}],
    "prompt": "    return ",
    "n_predict": 8,
    "stop": [],
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.9,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 60_000,
    "model": "",
    "response_fields": [
        "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms", "timings/prompt_per_second",
        "timings/predicted_n", "timings/predicted_ms", "timings/predicted_per_token_ms",
        "timings/predicted_per_second", "truncated", "tokens_cached",
    ],
}  # fmt: skip
"""As llama.vim sends it, but for `t_max_predict_ms`, 1000 there: a busy machine may take longer for eight tokens."""


DEFAULTS = """
[models."plain"]
system = "Be brief."
temperature = 0.25
penalty_window = 32
max_tokens = 300
stop = ["END", "a\\"b"]
mirostat = {version = 2, tau = 3.0, eta = 0.2}
xtc = {probability = 0.25}
template = "{% for m in messages %}{{ m.content }}{% endfor %}"
"""


def coder_daemon() -> Daemon:
    """With a model that knows the markers of Qwen's Coder, and one that knows none, of which config.toml says more."""
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL="coder", THREADRUNNER_THREADS="1")
    models = daemon.home / "models"
    models.mkdir()
    words = tiny.bytes_vocabulary(dict.fromkeys(MARKERS, tiny.CONTROL))
    tiny.llama(models / "coder.gguf", {**words, "tokenizer.chat_template": TEMPLATE}, **tiny.LONG)
    tiny.llama(models / "plain.gguf", **tiny.LONG)
    (daemon.home / "config.toml").write_text(DEFAULTS)
    return daemon


@pytest.fixture(scope="module")
def coder() -> Iterator[Served]:
    yield from listening(coder_daemon())


def test_llama_vim_gets_what_it_looks_for(coder: Served) -> None:
    answer = coder.post("/infill", VIM, Authorization="Bearer ")
    assert answer.status == 200, answer.body
    # It looks at the text before it reads it: an object, one line, no blank behind the colon.
    assert answer.body.startswith(b"{") and b'"content":"' in answer.body and b"\n" not in answer.body
    assert set(answer.json) == set(VIM["response_fields"])
    assert answer.json["timings/predicted_n"] == 8 and answer.json["tokens_cached"] > 8


def test_llama_vims_warm_up_is_evaluated_and_says_nothing(coder: Served) -> None:
    warm = {**VIM, "input_prefix": "", "input_suffix": "", "prompt": "", "n_predict": 0, "samplers": []}
    extra = [{"text": f"line {i}\n" * 8, "filename": "warm.py"} for i in range(3)]
    answer = coder.post("/infill", {**warm, "input_extra": extra, "response_fields": [""], "t_max_predict_ms": 1})
    assert (answer.status, answer.json) == (200, {})
    real = coder.post("/infill", {**VIM, "input_extra": extra, "response_fields": ["timings/cache_n"]})
    assert real.json["timings/cache_n"] > 100, "the context was evaluated again"


def test_a_warm_up_gives_way_to_a_request(coder: Served) -> None:
    warm = {**VIM, "input_prefix": "", "input_suffix": "", "prompt": "", "n_predict": 0}
    slow = {**warm, "input_extra": [{"text": f"{i} " * 100, "filename": f"{i}.py"} for i in range(20)]}
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(coder.post("/infill", slow)))
    thread.start()
    assert coder.post("/infill", VIM).status == 200
    thread.join()
    assert answers[0].status == 200  # whichever came first: given up, or done


def test_llama_vscode_gets_candidates_as_a_list_or_one(coder: Served) -> None:
    body = {**VIM, "n_cmpl": 3}
    del body["response_fields"]
    answer = coder.post("/infill", body)
    assert [one["index"] for one in answer.json] == [0, 1, 2]
    for one in answer.json:
        assert one["stop"] is True and one["stop_type"] in ("limit", "eos") and one["truncated"] is False
        assert one["generation_settings"]["n_ctx"] == 1024 and one["tokens_predicted"] >= 8
        assert one["timings"]["predicted_n"] and isinstance(one["content"], str)
    assert isinstance(coder.post("/infill", {**body, "n_cmpl": 1}).json, dict)


def test_a_streamed_middle_has_no_done(coder: Served) -> None:
    body = {**VIM, "stream": True, "response_fields": None}
    *pieces, last = coder.post("/infill", body).events
    assert last["stop"] is True and last["content"] == "" and "timings" in last
    whole = coder.post("/infill", {**body, "stream": False}).json
    assert "".join(piece["content"] for piece in pieces) == whole["content"]


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/infill", {"input_suffix": ""}, "input_prefix"),
    ("/infill", {"input_prefix": ""}, "input_suffix"),
    ("/infill", {**VIM, "prompt": 7}, "prompt"),
    ("/infill", {**VIM, "input_extra": {}}, "input_extra"),
    ("/infill", {**VIM, "input_extra": [{"filename": "ok"}]}, "input_extra[0].text"),
    ("/infill", {**VIM, "input_extra": [{"filename": 1, "text": "a"}]}, "input_extra[0].filename"),
    ("/infill", {**VIM, "n_cmpl": 9}, "n_cmpl"),
    ("/infill", {**VIM, "response_fields": [1]}, "response_fields"),
    ("/completion", {}, "prompt"),
    ("/completion", {"prompt": {"a": 1}}, "prompt"),
    ("/completion", {"prompt": ["a", "b"], "stream": True}, "prompt"),
    ("/completion", {"prompt": "a", "image_data": [{}]}, "image_data"),
]


@pytest.mark.parametrize(("path", "body", "place"), WRONG)
def test_what_is_wrong_has_the_status_as_its_code(coder: Served, path: str, body: dict[str, Any], place: str) -> None:
    answer = coder.post(path, body)
    error = answer.json["error"]
    assert (answer.status, error["code"], error["type"]) == (400, 400, "invalid_request_error")
    assert place in error["message"]


def test_a_model_without_markers_cannot_infill(coder: Served) -> None:
    answer = coder.post("/infill", {**VIM, "model": "plain.gguf"})
    error = answer.json["error"]
    assert (answer.status, error["code"], error["type"]) == (501, 501, "not_supported_error")


def test_a_prompt_that_does_not_fit_says_both_numbers(coder: Served) -> None:
    answer = coder.post("/completion", {"prompt": "x" * 3000, "n_predict": 1})
    error = answer.json["error"]
    assert (answer.status, error["code"], error["type"]) == (400, 400, "exceed_context_size_error")
    assert error["n_prompt_tokens"] >= 3000 and error["n_ctx"] == 1024


def test_a_completion_of_a_text_of_tokens_of_both_and_of_several(coder: Served) -> None:
    asked = {"n_predict": 4, "temperature": 0, "samplers": ["temperature"], "ignore_eos": True}
    text = coder.post("/completion", {**asked, "prompt": "abc<|im_end|>"}).json
    assert text["tokens_predicted"] == 4 and text["stop_type"] == "limit" and text["tokens_evaluated"] == 4
    tokens = coder.post("/tokenize", {"content": "abc<|im_end|>"}).json["tokens"]
    same = [tokens, ["abc", tokens[-1]], [*tokens[:2], "c<|im_end|>"], {"prompt_string": "abc<|im_end|>"}]
    for prompt in same:
        answer = coder.post("/completions", {**asked, "prompt": prompt}).json
        assert answer["content"] == text["content"]
        assert answer["tokens_evaluated"] == 4 and answer["prompt"] == "abc<|im_end|>"
    several = coder.post("/completion", {**asked, "prompt": ["abc", "abc<|im_end|>", tokens]}).json
    assert [one["index"] for one in several] == [0, 1, 2]
    assert [one["content"] for one in several][1:] == [text["content"]] * 2


def test_a_streamed_completion(coder: Served) -> None:
    asked = {
        "n_predict": 6,
        "temperature": 0,
        "prompt": "abc",
        "n_probs": 2,
        "ignore_eos": True,
        "return_progress": True,
    }
    *pieces, last = coder.post("/completion", {**asked, "stream": True}).events
    assert all(piece["stop"] is False for piece in pieces) and last["stop"] is True
    whole = coder.post("/completion", asked).json
    assert "".join(piece["content"] for piece in pieces) == whole["content"]
    assert len(whole["completion_probabilities"][0]["top_logprobs"]) == 2
    assert last["timings"]["predicted_n"] == 6


def test_samplers_that_only_llama_server_names(coder: Served) -> None:
    asked = {
        "prompt": "abc", "n_predict": 4, "dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 3,
        "dry_penalty_last_n": -1, "dry_sequence_breakers": ["\n"], "xtc_probability": 0.1, "xtc_threshold": 0.2,
        "dynatemp_range": 0.2, "mirostat": 0, "grammar": "",
    }  # fmt: skip
    assert coder.post("/completion", asked).status == 200
    wrong = coder.post("/completion", {**asked, "xtc_probability": 7})
    assert wrong.status == 400 and "xtc" in wrong.json["error"]["message"]


def test_tokens_and_texts(coder: Served) -> None:
    text = "What is ö 🦀 <|im_end|> it ? Don ' t !"
    tokens = coder.post("/tokenize", {"content": text}).json["tokens"]
    assert coder.post("/detokenize", {"tokens": tokens}).json["content"] == text
    assert len(coder.post("/tokenize", {"content": text, "parse_special": False}).json["tokens"]) > len(tokens)
    pieces = coder.post("/tokenize", {"content": text, "with_pieces": True}).json["tokens"]
    assert [piece["id"] for piece in pieces] == tokens
    said = b"".join(bytes(p) if isinstance(p, list) else p.encode() for p in (piece["piece"] for piece in pieces))
    assert said.decode() == text
    assert coder.post("/tokenize", {}).json == {"tokens": []}


def test_a_template_is_shown(coder: Served) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for path in ("/apply-template", "/v1/apply-template"):
        assert coder.post(path, body).json["prompt"] == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_props_load_nothing_and_slots_show_what_is_loaded(coder: Served) -> None:
    coder.daemon.wire().call("models.unload")
    cold = coder.get("/props?model=coder&autoload=false").json
    assert cold["is_sleeping"] is True and cold["default_generation_settings"]["n_ctx"] == 1024
    assert cold["model_path"] == "coder.gguf" and cold["chat_template"] == TEMPLATE
    assert cold["chat_template_caps"]["supports_tools"] is False and cold["modalities"]["vision"] is False
    assert coder.get("/slots").json == []
    assert coder.daemon.wire().call("status")["models"] == []
    coder.post("/infill", VIM)
    for query in ("", "?model=coder", "?model=coder.gguf"):  # the name of the file is another name of it
        assert coder.get(f"/props{query}").json["is_sleeping"] is False
    (slot,) = coder.get("/slots?model=coder").json
    assert slot["n_ctx"] == 1024 and slot["is_processing"] is False


def test_what_config_toml_says_of_a_model_is_told(coder: Served) -> None:
    props = coder.get("/props?model=plain&autoload=false").json
    assert props["system_prompt"] == "Be brief." and props["chat_template"].startswith("{% for m in messages %}")
    params = props["default_generation_settings"]["params"]
    assert (params["temperature"], params["repeat_last_n"], params["n_predict"]) == (0.25, 32, 300)
    assert (params["mirostat"], params["mirostat_tau"], params["xtc_probability"]) == (2, 3.0, 0.25)
    assert params["stop"] == ["END", 'a"b'] and params["top_k"] == 40  # the usual value, of which nothing is said
    shown = coder.post("/api/show", {"model": "plain"}).json
    assert shown["system"] == "Be brief." and "tools" in shown["capabilities"]
    lines = [line.split(None, 1) for line in shown["parameters"].splitlines()]
    assert ["temperature", "0.25"] in lines and ["num_predict", "300"] in lines and ["mirostat_tau", "3.0"] in lines
    assert [value for name, value in lines if name == "stop"] == ['"END"', r'"a\"b"']
    assert "top_k" not in shown["parameters"]  # as Ollama: what was set, and no more
    assert "system_prompt" not in coder.get("/props?model=coder").json
    assert "system" not in coder.post("/api/show", {"model": "coder"}).json


def test_health_needs_nothing_and_what_is_not_here_says_so(coder: Served) -> None:
    for path in ("/health", "/v1/health"):
        assert coder.get(path).json == {"status": "ok"}
    for path in ("/rerank", "/v1/rerank", "/props", "/slots/0", "/lora-adapters"):
        answer = coder.post(path, {"query": "a", "documents": ["b"]})
        assert answer.status == 501 and answer.json["error"]["type"] == "not_supported_error", path
    assert coder.get("/lora-adapters").json == []
    assert coder.get("/props?model=/etc/passwd").status == 404


def test_what_becomes_of_a_model_is_told(coder: Served) -> None:
    """Also when another client asked for it."""
    wire = coder.daemon.wire()
    wire.call("models.unload")
    with sse(coder, "/models/sse") as events:
        wire.call("models.load", model="coder")
        wire.call("models.unload", model="coder")
        told = [next(events) for _ in range(3)]
    assert [event["data"]["status"] for event in told] == ["loading", "loaded", "unloaded"]
    assert {event["event"] for event in told} == {"model_status"} and {event["model"] for event in told} == {"coder"}
    assert told[0]["data"]["progress"]["stages"] == ["text_model"]


def test_no_path_of_a_model_leaves_by_the_port() -> None:
    said = told({"event": "model.loaded", "model": "/home/me/x.gguf", "data": {}})
    assert said is not None and said["model"] == "x.gguf"
    assert told({"event": "config.loaded", "model": "", "data": {}}) is None
    answer = Generated("a", "stop", "/home/me/x.gguf", Usage(), Timings())
    order = Order("generate", {}, "")
    (made,) = objects.results(order, answer, 0, ())
    assert made["model"] == "x.gguf" and "/home" not in str(made)
