"""What a template may do with what it is given, and how much it may make in one go."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from threadrunner.engine.errors import BadTemplate
from threadrunner.engine.prompts.template import ChatTemplate

MESSAGES = [{"role": "user", "content": "hi", "tool_calls": [{"arguments": {"a": [1, True, None]}}]}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"required": ["a"]}}}]


def render(source: str, **variables: Any) -> str:
    return ChatTemplate(source).render(MESSAGES, bos="<s>", eos="</s>", tools=TOOLS, variables=variables)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% set a = [] %}{% set _ = a.append(1) %}{% set _ = a.extend([2, 3]) %}{{ a.pop() }}{{ a }}", "3[1, 2]"),
        ("{% set a = messages[:1] %}{% set _ = a.append('x') %}{{ a | length }}{{ messages | length }}", "21"),
        ("{% set n = namespace(l=[]) %}{% set _ = n.l.append(messages[0].role) %}{{ n.l[0] }}", "user"),
        ("{{ '{0.__class__}{0.real}'.format(1) }}", ""),
        ("{{ '<{}|{:>4}|{n}>'.format('a', 1, n=2) }}", "<a|   1|2>"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ tools[0] | tojson(indent=1, sort_keys=True) | length > 50 }}", "True"),
        ("{{ messages | map(attribute='role') | tojson }}", '["user"]'),
        ("{{ ('{\"a\": [1]}' | from_json).a[0] }}", "1"),
        ("{{ ['a', 'b'] | join('-') }}{{ '-'.join(['a', 'b']) }}{{ 'a' ~ 1 ~ none }}", "a-ba-ba1None"),
        ("{{ 'aXb'.replace('X', '') }}{{ 'aXb' | replace('X', 'y') }}", "abayb"),
        ("{{ '<b>' | safe + '<c>' }}", "<b><c>"),
        ("{{ [3, 1] | sort }}{{ [3, 1] | sum }}{{ 'ab' | list }}", "[1, 3]4['a', 'b']"),
        ("{% generation %}x{% endgeneration %}{% for a in [1, 2] %}{{ a }}{% break %}{% endfor %}", "x1"),
    ],
)  # fmt: skip
def test_what_templates_use(source: str, expected: str) -> None:
    assert render(source) == expected


def test_what_is_given_is_json_when_it_is_written_out() -> None:
    x = "{% set x = messages[0].tool_calls[0].arguments %}"
    for source in ("{{ x }}", "{{ x | string }}", "{{ x ~ '' }}", "{{ '' ~ x }}", "{{ '{}'.format(x) }}"):
        assert render(x + source) == '{"a": [1, true, null]}'
    assert render("{{ tools[0].function.parameters.required }}") == '["a"]'


@pytest.mark.parametrize(
    "change",
    [
        "messages.append({})",
        "messages.pop()",
        "messages.sort()",
        "messages | attr('clear')()",
        "tools.extend([1])",
        "messages[0].tool_calls.insert(0, 1)",
        "tools[0].function.parameters.required.remove('a')",
        "messages[0].update({})",
        "messages[0].pop('role')",
        "messages[0].setdefault('x', 1)",
        "messages[0].clear()",
        "tools[0].function.__setitem__('name', 'x')",
    ],
)
def test_what_is_given_cannot_be_changed(change: str) -> None:
    before = json.dumps([MESSAGES, TOOLS])
    with pytest.raises(BadTemplate, match="unsafe"):
        render(f"{{% set _ = {change} %}}")
    assert json.dumps([MESSAGES, TOOLS]) == before


DOUBLE = "{% set n = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}STEP{% endfor %}{{ n.x | length }}"
LISTS = "{% set n = namespace(x=['xxxxxxxxxxxxxxxx']) %}{% for i in range(60) %}STEP{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        DOUBLE.replace("STEP", "{% set n.x = n.x + n.x %}"),
        DOUBLE.replace("STEP", "{% set n.x = n.x ~ n.x %}"),
        DOUBLE.replace("STEP", "{% set n.x = [n.x, n.x] | join %}"),
        DOUBLE.replace("STEP", "{% set n.x = ''.join([n.x, n.x]) %}"),
        DOUBLE.replace("STEP", "{% set n.x = '{}{}'.format(n.x, n.x) %}"),
        DOUBLE.replace("STEP", "{% set n.x = n.x.replace('x', 'xx') %}"),
        DOUBLE.replace("STEP", "{% set n.x = n.x | replace('x', 'xx') %}"),
        DOUBLE.replace("STEP", "{% set t %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = t %}"),
        DOUBLE.replace("STEP", "{% macro m() %}{{ n.x }}{{ n.x }}{% endmacro %}{% set n.x = m() %}"),
        DOUBLE.replace("STEP", "{% set n.x = (n.x | tojson) ~ (n.x | tojson) %}"),
        LISTS.replace("STEP", "{% set n.x = n.x + n.x %}"),
        LISTS.replace("STEP", "{% set _ = n.x.extend(n.x) %}"),
        LISTS.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ n.x }}",
        LISTS.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ n.x | tojson }}",
        LISTS.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ n.x | string | length }}",
        LISTS.replace("STEP", "{% set n.x = {'a': n.x, 'b': n.x} %}") + "{{ '' ~ n.x }}",
        LISTS.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ '{!r}'.format(n.x) }}",
        LISTS.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ [n.x] * 9 | join }}",
        "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "{{ ([('x' * 99999)] * 99999) | join | length }}",
        "{{ ('x' * 99999).replace('', 'x' * 99999) | length }}",
        "{{ ('x' * 99999) | indent(99999) }}",
        "{{ ('\n' * 99999) | indent(16, true) | indent(17) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ '{:>{w}}'.format(1, w=999999999) }}",
        "{{ [1] | batch(999999999, 'x') | list }}",
        "{{ [1] | slice(999999999) | list }}",
        "{{ lipsum(n=999999999) }}",
        "{{ 'a'.encode().ljust(999999999) }}",
        "{{ (1).to_bytes(999999999) }}",
        LISTS.replace("STEP", "{% set n.x = [n.x, n.x] %}") + "{{ raise_exception(n.x) }}",
        "{{ 'a'.translate({97: 'b'}) }}",
        "{{ [[1] * 99999] * 99999 }}",
        "{{ [['x'] * 99999] | sum(start=[]) }}",
        "{{ '%s' % 'x' }}",
        "{{ strftime_now('%Y' * 999) }}",
        "{{ messages | tojson(indent=999999) }}",
        "{{ messages | tojson(separators=('x' * 999, ':')) }}",
        "{{ nothing | tojson }}",
    ],
)
def test_nothing_large_is_made_of_small_things(source: str) -> None:
    began = time.process_time()
    with pytest.raises(BadTemplate):
        render(source)
    assert time.process_time() - began < 30, "a clock does not stop what C does in one go; bounds must"


def test_many_large_texts_are_too_much_together() -> None:
    """Each would do; a hundred of them would be gigabytes."""
    source = "{% set s = x ~ x %}" + "".join(f"{{% set a{i} = s ~ '{i}' %}}" for i in range(100))
    assert render("{% set s = x ~ x %}{{ s | length }}", x="y" * (8 << 20)) == str(16 << 20)
    with pytest.raises(BadTemplate, match="too large"):
        render(source, x="y" * (8 << 20))
    assert render("{{ x | length }}", x="y" * (8 << 20)) == str(8 << 20)


def test_tools_are_left_out_where_there_are_none() -> None:
    source = "{{ tools is defined }}"
    assert ChatTemplate(source).render(MESSAGES, bos="", eos="") == "False"
    assert render(source) == "True"


def test_tools_under_the_names_that_some_templates_have_for_them() -> None:
    assert render("{{ xml_tools[0].type }}") == "function"
    assert json.loads(render("{{ functions }}{# datetime #}")) == TOOLS
