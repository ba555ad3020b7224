"""Brackets, strings and comments, language by language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.syntax.languages import OTHER, TABLE, language_of
from threadrunner.syntax.scan import Inside, scan, string_ends


def found(text: str, language: str = "python") -> tuple[str, str]:
    """What is left open, and what closes nothing."""
    result = scan(text, language_of(language))
    return "".join(o.bracket for o in result.opened), "".join(c.bracket for c in result.missing)


@pytest.mark.parametrize(
    ("language", "text", "opened", "missing"),
    [
        ("python", "f(a[0], {", "({", ""),
        ("python", "a) + ']' # )\n}", "", ")}"),
        ("python", "don't (x)", "", ""),
        ("python", '"""(" """ (', "(", ""),
        ("python", "f(x]", "(", "]"),
        ("python", "f([x)", "", ""),
        ("c", "#define F(x) g((x)", "(", ""),
        ("c", "char c = '('; // (\n/* ( */ f(", "(", ""),
        ("rust", "fn f<'a>(x: &'a str) { '{' ", "{", ""),
        ("rust", "#[derive(Debug)] struct A {", "{", ""),
        ("lua", "f(#t, [[ ( ]]) -- (\n--[[ ( ]] {", "{", ""),
        ("javascript", "`(${x}\n(` + f(", "(", ""),
        ("css", "#id { a: url(x) /* } */", "{", ""),
        ("emacs-lisp", '(f ?\\( ?" "(" ; (\n', "(", ""),
        ("commonlisp", "(f #\\( '(a) #| ( |#", "(", ""),
        ("shellscript", "case $x in\n  a | b) f ${#x} $(g ;; # (\n", "(", ""),
        ("markdown", "1) it's (a\n", "(", ")"),
        ("no such language", "f( # (\n// (\n", "(", ""),
    ],
)
def test_what_counts(language: str, text: str, opened: str, missing: str) -> None:
    assert found(text, language) == (opened, missing)


@pytest.mark.parametrize(
    ("language", "text", "inside"),
    [
        ("python", "x = 'a", Inside("'", one_line=True)),
        ("python", "x = 'a\n", None),
        ("python", "x = 'it\\'s", Inside("'", one_line=True)),
        ("python", '"""doc\n', Inside('"""')),
        ("python", "# why", Inside("\n", comment=True)),
        ("python", "# why\n", None),
        ("go", "/* why\n", Inside("*/", comment=True)),
        ("emacs-lisp", '"doc\n', Inside('"')),
        ("rust", "&'a", None),
        ("markdown", "it's", None),
    ],
)
def test_what_a_text_ends_in(language: str, text: str, inside: Inside | None) -> None:
    assert scan(text, language_of(language)).inside == inside


def test_a_scan_goes_on_where_another_ended() -> None:
    python = language_of("python")
    first = scan("f(['a", python)
    second = scan("b', [", python, first.opened, first.inside)
    assert [opener.bracket for opener in second.opened] == ["(", "[", "["]


def test_an_openers_base_is_its_statements() -> None:
    (opener,) = scan("  f(int a,\n        int b) {\n", language_of("java")).opened
    assert (opener.bracket, opener.base) == ("{", 2)


def test_quotes_that_end_something() -> None:
    assert string_ends("a', 'b', 'c", "'") == 4
    assert string_ends("a\\', b'", "'") == 1


@given(text=st.text(alphabet="ab()[]{}'\"`#/*-;\\\n |<!", max_size=80), row=st.sampled_from([*TABLE, OTHER]))
def test_no_text_is_too_odd(text: str, row: object) -> None:
    result = scan(text, row)  # type: ignore[arg-type]
    assert all(text[opener.at] == opener.bracket for opener in result.opened)
    assert all(text[closer.at] == closer.bracket for closer in result.missing)


def test_a_long_line_takes_no_longer_than_its_length() -> None:
    """Quadratic, this would be minutes."""
    for unit in ("'", "\\", "a | ", "(", '"a', "/*", "a|"):
        scan(unit * 100_000, language_of("shellscript"))
        scan(unit * 100_000, language_of("c"))


def test_a_language_is_found_by_name_or_by_file() -> None:
    assert language_of("Python") is language_of(None, "/a/b.py")
    assert language_of("typescriptreact") is language_of("", "C:\\a\\b.tsx")
    assert language_of(None, "/a/Makefile") is OTHER


def test_each_name_has_one_row() -> None:
    names = [name for row in TABLE for name in row.names]
    suffixes = [suffix for row in TABLE for suffix in row.suffixes]
    assert len(set(names)) == len(names) and len(set(suffixes)) == len(suffixes)
