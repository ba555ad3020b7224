"""What of other files is chosen, and what never is; and where the window begins."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from threadrunner.lsp.suggest.context import CHARS_PER_TOKEN, Chooser, Trail, choose
from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.window import JUMP_LINES, around
from threadrunner.lsp.suggest.workspace import Workspace

LIB = "def compute(a):\n    total = a * 2\n    return total\n\ndef unrelated(b):\n    return b\n"


def doc(path: str, text: str, language: str = "python") -> Document:
    return Document(f"file://{path}", path, language, 1, text)


def chosen(document: Document, *others: Document, trail: Trail | None = None, budget: int = 512, root: str = "/w"):  # type: ignore[no-untyped-def]
    window = around(document, end_of(document), 4000, 1000)
    return choose(document, window, list(others), trail or Trail(), Ignore([root]), budget)


def end_of(document: Document) -> Place:
    return Place(len(document.lines) - 1, len(document.lines[-1]))


def test_the_definition_of_a_name_near_the_cursor() -> None:
    found = chosen(doc("/w/a.py", "x = compute("), doc("/w/lib.py", LIB))
    assert found[-1].path == "lib.py"
    assert found[-1].text == "def compute(a):\n    total = a * 2\n    return total\n"


def test_places_worked_on_before() -> None:
    other = doc("/w/b.toml", "\n" * 40 + "the_setting = 'something'\n" + "\n" * 40, "toml")
    trail = Trail()
    trail.visit(other.uri, 40)
    found = chosen(doc("/w/a.py", "y = "), other, trail=trail)
    assert [each.text for each in found] == ["the_setting = 'something'\n"]


def test_what_the_window_shows_is_not_shown_again() -> None:
    found = chosen(doc("/w/a.py", LIB + "x = compute("), doc("/w/copy.py", LIB))
    assert found == []


def test_nothing_is_shown_twice() -> None:
    found = chosen(doc("/w/a.py", "x = compute("), doc("/w/lib.py", LIB), doc("/w/copy.py", LIB))
    assert sum("total = a * 2" in each.text for each in found) == 1


def test_the_budget_holds() -> None:
    others = [doc(f"/w/m{number}.py", f"def name{number}():\n" + f"    value = {number} * 2\n" * 10)
              for number in range(20)]  # fmt: skip
    document = doc("/w/a.py", " ".join(f"name{number}" for number in range(20)))
    found = chosen(document, *others, budget=100)
    assert found and sum(len(each.text) for each in found) <= 100 * CHARS_PER_TOKEN
    assert chosen(document, *others, budget=0) == []


def test_secrets_and_ignored_files_never(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("built/\n")
    (tmp_path / ".threadrunnerignore").write_text("private.py\n")
    root = str(tmp_path)
    names = [".env", "built/lib.py", "private.py", "server.key"]
    others = [doc(f"{root}/{name}", LIB) for name in names]
    assert chosen(doc(f"{root}/a.py", "x = compute("), *others, root=root) == []


def test_the_choice_stays_while_the_window_stays() -> None:
    chooser, document, lib = Chooser(), doc("/w/a.py", "x = compute("), doc("/w/lib.py", LIB)
    window = around(document, end_of(document), 4000, 1000)
    workspace = Workspace(ignore=Ignore(["/w"]))
    workspace.documents.open(lib)
    first = chooser.choose(document, window, 0, workspace, Trail())
    assert first
    lib.change(None, LIB.replace("total", "sum_of_all"))
    assert chooser.choose(document, window, 3, workspace, Trail()) is first
    assert chooser.choose(document, window, 300, workspace, Trail()) is not first


def test_a_trail_joins_what_is_close_and_forgets_the_oldest() -> None:
    trail = Trail(size=2)
    for line in (1, 5, 100, 200):
        trail.visit("u", line)
    assert len(list(trail.newest_first())) == 2
    assert next(trail.newest_first())[1] in range(190, 210)
    trail.forget("u")
    assert list(trail.newest_first()) == []


def test_the_window_begins_at_the_same_line_for_many_lines() -> None:
    document = doc("/w/a.py", "".join(f"line {number:05}\n" for number in range(2000)))
    starts = {around(document, Place(line, 0), 4000, 1000).first.line for line in range(1000, 1100)}
    assert len(starts) <= 100 // JUMP_LINES + 2
    assert all(start % JUMP_LINES == 0 for start in starts)


def test_a_line_longer_than_the_window() -> None:
    document = doc("/w/a.js", "x" * 100_000)
    window = around(document, Place(0, 50_000), 4000, 1000)
    assert 0 < len(window.prefix) <= 4000 + 1024 and len(window.suffix) == 1000
    assert around(document, Place(0, 50_100), 4000, 1000).first == window.first


@given(
    text=st.text(alphabet="ab\n\r", max_size=300), line=st.integers(0, 50), column=st.integers(0, 50),
    before=st.integers(100, 200), behind=st.integers(0, 100),
)  # fmt: skip
def test_a_window_is_the_text_around_the_cursor(text: str, line: int, column: int, before: int, behind: int) -> None:
    document = doc("/w/a.py", text)
    line = min(line, len(document.lines) - 1)
    place = Place(line, min(column, len(document.lines[line].rstrip("\r\n"))))
    window = around(document, place, before, behind)
    ahead = document.between(Place(0, 0), place).replace("\r\n", "\n").replace("\r", "\n")
    assert ahead.endswith(window.prefix)
    assert not window.whole_prefix or window.prefix == ahead
    assert len(window.suffix) <= max(behind, 0) + len(document.lines[line])
