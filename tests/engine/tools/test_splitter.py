"""What is said, told apart: the same for each way to cut it up, with nothing lost and nothing taken back."""

from __future__ import annotations

import json
import random
import re

import pytest

from tests.engine.tools.samples import BONN, SAMPLES, SYNTAXES, Answer, Heard, joined, layout, parts
from threadrunner.engine.tools.families import FAMILIES
from threadrunner.engine.tools.layout import AnswerPart, Layout

NAMES = [f"{i}-{sample[0]}" for i, sample in enumerate(SAMPLES)]


def test_each_family_has_a_sample() -> None:
    assert {family.name for family in FAMILIES} <= {name for name, _, _ in SAMPLES}


@pytest.mark.parametrize(("family", "text", "answer"), SAMPLES, ids=NAMES)
@pytest.mark.parametrize("keeps", [False, True], ids=["held", "kept"])
def test_every_cut_gives_the_same(family: str, text: str, answer: Answer, keeps: bool) -> None:
    if keeps and "nope" in text:
        pytest.skip("a call that is kept to its grammar is JSON")
    which = layout(family)
    for at in range(len(text) + 1):
        assert joined(parts(which, [text[:at], text[at:]], listener=Heard(keeps))) == answer, text[:at]
    assert joined(parts(which, text, listener=Heard(keeps))) == answer


@pytest.mark.parametrize(("family", "text", "answer"), SAMPLES, ids=NAMES)
def test_every_beginning_is_a_beginning(family: str, text: str, answer: Answer) -> None:
    """What `length` cuts off: a thought and arguments are what is there of them, calls that were whole stay whole."""
    for at in range(len(text)):
        cut_text, thought, calls = joined(parts(layout(family), [text[:at]], cut=True))
        assert answer[1].startswith(thought) or thought.startswith(answer[1])  # with a piece of its end
        for (name, arguments), (whole_name, whole) in zip(calls, answer[2], strict=False):
            assert name == whole_name
            assert whole.startswith(arguments) or arguments.startswith(whole[:-1])
        assert len(calls) <= len(answer[2]) or not answer[2]
        assert cut_text or thought or calls or not text[:at].strip() or text[:at].strip()[0] in "<{[>t"


def test_a_call_that_is_kept_to_its_grammar_comes_in_pieces() -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
    heard = Heard(keeps=True)
    found = parts(layout("hermes"), text, listener=heard)
    assert heard.begun == ["<tool_call>"]
    assert [part.text for part in found][:4] == ["", "{", '"', "c"]
    held = parts(layout("hermes"), text)
    assert joined(held) == joined(found)


def test_a_part_of_a_marker_is_held_and_nothing_else() -> None:
    found = parts(layout("hermes"), ["a <tool", "box> b"])
    assert [part.text for part in found] == ["a", " <toolbox> b"]


def test_parallel_calls_can_be_refused() -> None:
    family, text, _ = SAMPLES[0]
    found = joined(parts(layout(family, many=False), [text]))
    assert found == ("I look.", "hm", (BONN,))


def test_control_tokens_are_never_shown() -> None:
    hidden = frozenset({"[TOOL_CALLS]", "[ARGS]"})
    which = layout("mistral", hidden=hidden)
    for pieces in (["x [TOOL_CALLS]y[ARGS] z"], "x [TOOL_CALLS]y[ARGS] z"):
        assert joined(parts(which, pieces)) == ("x y z", "", ())


def test_a_thought_aloud_is_text_and_one_dropped_is_none() -> None:
    said = "<think>\nhm\n</think>\n\nSo."
    heard = Heard()
    assert joined(parts(layout("hermes", thoughts="aloud"), said, listener=heard)) == (said, "", ())
    assert heard.thoughts == 1
    assert joined(parts(layout("hermes", thoughts="dropped"), said)) == ("So.", "", ())


def test_a_prompt_may_have_opened_the_thought() -> None:
    which = layout("hermes", thinking=True)
    assert joined(parts(which, "hm\n</think>\n\nSo.")) == ("So.", "hm", ())
    assert joined(parts(layout("hermes", thinking=True, thoughts="aloud"), "hm</think>So.")) == (
        "hm</think>So.",
        "",
        (),
    )


DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("family", "text"),
    [
        (
            "qwen-coder",
            f"<tool_call>\n<function=weather>\n<parameter=days>\n{DEEP}\n</parameter>\n</function>\n</tool_call>",
        ),
        ("lfm2", f"<|tool_call_start|>[weather(city={DEEP})]<|tool_call_end|>"),
        ("hermes", f'<tool_call>\n{{"function": {{"name": "weather", "arguments": {DEEP}}}}}\n</tool_call>'),
        ("hermes", f'<tool_call>\n{{"name": "weather", "arguments": {{"city": {DEEP}}}}}\n</tool_call>'),
    ],
)
def test_what_nests_too_deep_is_text(family: str, text: str) -> None:
    said, _, calls = joined(parts(layout(family), [text]))
    assert [json.loads(arguments) for _, arguments in calls] in ([], [{"days": DEEP}])
    assert DEEP in said or calls


def test_what_is_no_json_though_python_takes_it_is_text() -> None:
    text = '<tool_call>\n{"name": "weather", "arguments": {"city": NaN}}\n</tool_call>'
    assert joined(parts(layout("hermes"), text))[2] == ()


def test_without_tools_calls_are_text() -> None:
    family, text, _ = SAMPLES[0]
    assert joined(parts(layout(family, tools={}), text))[0] == text.partition("</think>\n\n")[2]


FRAGMENTS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "weather", "time",
    '{"name": "weather", "arguments": {"city": "Bonn"}}', '{"name": "', '", "arguments": {', "}", "{", "[", "]", ",",
    ": ", '"', "\\", "\n", " ", "a", "ä", "🙂", "<function=weather>", "<parameter=city>", "</parameter>", "</function>",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<|tool_call_start|>", "weather(city='x')", "(", ")",
    "<|tool_call>call:weather{", '<|"|>', "<tool_call|>", "<|channel|>", "analysis", "<|message|>", "<|end|>",
    "<|start|>assistant", "to=functions.weather", "<|tool_call_begin|>", "functions.time:0", "</", "<",
)  # fmt: skip


def test_nothing_is_lost_of_10000_random_texts() -> None:
    rng = random.Random(18)
    families = sorted(SYNTAXES)
    for i in range(10_000):
        family = rng.choice(families)
        own = (*SYNTAXES[family].opens, *SYNTAXES[family].marks)
        text = "".join(rng.choice((*FRAGMENTS, *own * 3)) for _ in range(rng.randrange(12)))
        which = layout(family, thinking=rng.random() < 0.1, many=rng.random() < 0.9)
        cut, keeps = rng.random() < 0.3, rng.random() < 0.3
        whole = parts(which, [text], cut=cut, listener=Heard(keeps))
        at = rng.randrange(len(text) + 1)
        in_pieces = parts(which, text if i % 4 == 0 else (text[:at], text[at:]), cut=cut, listener=Heard(keeps))
        assert joined(whole) == joined(in_pieces), (family, text)
        assert_all_there(which, text, whole)


def assert_all_there(which: Layout, text: str, found: list[AnswerPart]) -> None:
    """Text and thought are what was said where they stand, and between them is markup or a call with all it has."""
    at, calls = 0, ""
    said = len(text) if which.many or not any(part.call for part in found) else max(p.span[1] for p in found)
    for part in [*found, AnswerPart("text", "", (said, said))]:
        if part.call is not None:
            calls += f"{part.call.name}\n" * (part.text == "") + part.text
            continue
        begin, end = part.span
        assert text[begin:end] == part.text, (text, found)
        assert begin >= at, (text, found)
        assert_markup(which, text[at:begin], calls)
        at, calls = end, ""


def assert_markup(which: Layout, gap: str, calls: str) -> None:
    if calls:  # every letter that was told was said; what else was said is punctuation of the call
        letters = sorted(re.sub(r"\W|weather|time", "", calls.encode().decode("unicode_escape", "ignore")))
        assert not letters or set(letters) <= set(gap) | set("null"), (gap, calls)
        return
    assert which.thought is not None
    gap = gap.replace(which.thought.begin, "").replace(which.thought.end, "")
    if which.thought.channels:
        gap = re.sub(r"<\|start\|>|<\|channel\|>.*?<\|message\|>|<\|message\|>|<\|(end|call|return)\|>", "", gap)
        gap = "" if "<|message|>" in gap or re.fullmatch(r"[\s\S]{0,256}", gap) else gap
    assert not gap.strip(), gap
