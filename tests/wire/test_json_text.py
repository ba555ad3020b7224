"""JSON by the C half of Python's json alone is what the whole of it makes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import PATIENCE
from threadrunner.wire import json_text

LETTERS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | LETTERS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(LETTERS, inner, max_size=5),
    max_leaves=20,
)
PYTHON = json_text._of_python()


@given(VALUES)
@settings(max_examples=300)
def test_a_value_is_written_as_json_writes_it_and_read_again(value: Any) -> None:
    text = json_text.write(value)
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":")) == PYTHON[1](value)
    assert json_text.read(text) == json_text.read(f" \t\r\n{text}\n ") == json.loads(text)
    assert PYTHON[0](text, 0) == (json_text.read(text), len(text))


@given(st.text(st.sampled_from('[]{}",:\\\n \x0010.eE-+tfnrualsxNI\ufeff'), max_size=12))
@settings(max_examples=1000)
def test_any_text_is_read_as_json_reads_it_or_refused_as_json_refuses_it(text: str) -> None:
    def outcome(read: Any) -> Any:
        try:
            return json.dumps(read(text))
        except (ValueError, RecursionError):
            return ValueError

    def whole(text: str) -> Any:
        return json.loads(text, parse_constant=json_text._refuse_constant, parse_float=json_text._finite)

    assert outcome(json_text.read) == outcome(whole)


def test_what_is_not_json_is_said_so() -> None:
    with pytest.raises(TypeError, match="a set cannot be written"):
        json_text.write({"a": {1}})
    for write in (json_text.write, PYTHON[1]):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write({"a": float("inf")})
    for text in ("", "x", "[1", '{"a":1}}', "1 2"):
        with pytest.raises(ValueError, match=r"character|delimiter|char "):
            json_text.read(text)


@pytest.mark.parametrize("text", ["{", "[1", '{"a"', '"x', '{"a":}', "[1,]"])
def test_bad_json_is_refused_where_json_was_not_imported(text: str) -> None:
    code = (
        "import sys; from threadrunner.wire import messages; assert 'json' not in sys.modules\n"
        "try: messages.decode(sys.argv[1].encode())\n"
        "except messages.DecodeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.startswith("not JSON: "), done.stderr
