"""A chat template is a stranger's program: it may not escape, hang or fill the memory."""

from __future__ import annotations

import time

import pytest

from threadrunner.engine.errors import BadTemplate
from threadrunner.engine.prompts import template
from threadrunner.engine.prompts.template import ChatTemplate, Refused


def render(source: str) -> str:
    return ChatTemplate(source).render([{"role": "user", "content": "hi"}], bos="<s>", eos="</s>")


def test_what_templates_use() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{% if loop.first %}[{{ m['role'] | upper }}] {% endif %}"
        "{{ m.content | trim }}{% endfor %}{% if add_generation_prompt %} >{% endif %}{% if tools %}no{% endif %}"
    )
    assert render(source) == "<s>[USER] hi >"


def test_it_may_refuse() -> None:
    with pytest.raises(Refused, match="no system"):
        render("{{ raise_exception('no system role') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({}) }}",
        "{{ ('' | attr('format')) }}{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'a'.ljust(10 ** 10) }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ [0] * 999999999 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(10 ** 9) | list }}",
        "{{ undefined.attribute }}",
        "{{ 1 / 0 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_it_may_not_do_harm(source: str) -> None:
    with pytest.raises(BadTemplate):
        render(source)


@pytest.mark.parametrize("source", ["{% for", "{% include 'x' %}", "x" * (2 << 20)])
def test_a_broken_template_is_a_clear_error(source: str) -> None:
    with pytest.raises(BadTemplate):
        render(source)


def test_a_loop_without_output_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_SECONDS", 0.05)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = b %}{% endfor %}{% endfor %}"
    with pytest.raises(BadTemplate, match="too long"):
        render(loop)


def test_endless_output_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_CHARS", 1000)
    with pytest.raises(BadTemplate, match="too much"):
        render("{% for a in range(9999) %}{{ messages }}{% endfor %}")


def test_time_in_which_the_process_does_not_run_is_not_the_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that sleeps, a core that is taken: only the wall's clock goes on."""
    real = time.monotonic
    asked = iter(range(10**9))
    monkeypatch.setattr(time, "monotonic", lambda: real() + 10 * next(asked))
    assert render("{% for a in range(5) %}{{ a }}{% endfor %}") == "01234"
