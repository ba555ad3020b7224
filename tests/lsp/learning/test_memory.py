"""What was taken and kept, and where it is shown again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from threadrunner.lsp.learning.bm25 import names_in, ranked
from threadrunner.lsp.learning.keeping import KEPT_AFTER, Keeping
from threadrunner.lsp.learning.memory import BUDGET, CHARACTERS, MOST, Memento, Memory, cut_out, still_there
from threadrunner.lsp.suggest.documents import Document
from threadrunner.lsp.suggest.ignore import Ignore

ROOT = "/work"
CODE = "def load_settings(path):\n    text = read_text(path)\n    return parse_settings(text)\n"
OTHER = "def paint_window(screen):\n    screen.fill(colour_of_sky)\n    return screen\n"


def test_the_text_with_most_of_the_rare_names_comes_first() -> None:
    texts = [names_in(text) for text in (OTHER, CODE, "return screen return path\n" * 9)]
    assert [number for number, _ in ranked(["parse_settings", "path"], texts)] == [1, 2]
    assert ranked(["nowhere"], texts) == [] and ranked(["path"], []) == []


def test_a_snippet_is_what_was_taken_and_what_is_around_it() -> None:
    lines = [f"value_{n} = compute(first_{n}, second_{n})\n" for n in range(60)]
    text = cut_out(lines, 30, 2)
    assert "value_30" in text and "value_24" in text and "value_23" not in text and "value_38" not in text
    assert len(text) <= CHARACTERS
    assert cut_out(["x\n"], 0, 1) == ""  # three names at least
    assert cut_out(["y" * 10_000 + "\n"], 0, 1) == ""  # generated code


def test_what_was_taken_is_found_where_it_has_moved_to() -> None:
    lines = ["a\n", "\n", "    text = read_text(path)\n", "    return text\n"]
    assert still_there(lines, 0, "text = read_text(path)\n\n    return text") == 2
    assert still_there(lines, 0, "text = read_text(other)") is None


def test_only_what_fits_the_place_is_shown_and_never_what_is_seen() -> None:
    memory = Memory()
    memory.add(Memento("a.py", "python", CODE))
    memory.add(Memento("b.py", "python", OTHER))
    memory.add(Memento("c.js", "javascript", CODE))
    assert [each.path for each in memory.find(["parse_settings"], "python", "")] == ["a.py"]
    assert memory.find(["parse_settings"], "python", CODE) == []
    assert memory.find(["parse_settings"], "python", "", room=20) == []
    assert memory.find(["parse_settings"], "go", "") == []


def test_the_newer_of_two_that_are_alike_stays() -> None:
    memory = Memory()
    for text in (CODE, CODE.replace("return parse", "return really_parse")):
        memory.add(Memento("a.py", "python", text))
    assert [each.text for each in memory.kept] == [CODE.replace("return parse", "return really_parse")]


def test_a_memory_is_bounded() -> None:
    memory = Memory()
    for n in range(MOST + 30):
        memory.add(Memento(f"{n}.py", "python", CODE))
    assert len(memory.kept) == len(memory.fresh) == MOST and memory.kept[0].path == "30.py"
    assert sum(len(each.text) for each in memory.find(["load_settings"], "python", "")) <= BUDGET


def test_a_memory_is_read_as_it_was_written() -> None:
    memory = Memory()
    memory.add(Memento("a.py", "python", CODE))
    back = Memory.read(json.loads(json.dumps(memory.told(ROOT))))
    assert (back.kept, back.fresh) == (memory.kept, [])


@pytest.mark.parametrize(
    "told", [{}, {"snippets": 3}, {"snippets": ["x"]}, {"snippets": [{"path": "a", "language": "b"}]}]
)
def test_a_file_that_is_not_ours_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Memory.read(told)


class Scene:
    def __init__(self, path: str = "/work/a.py") -> None:
        self.now = 0.0
        self.keeping = Keeping(lambda: self.now)
        self.keeping.set_ignore(Ignore([ROOT]))
        self.document = Document(f"file://{path}", path, "python", 1, CODE)

    @property
    def kept(self) -> list[Memento]:
        return self.keeping.memories[ROOT].kept


def test_what_was_taken_is_remembered_once_the_file_is_saved() -> None:
    scene = Scene()
    scene.keeping.taken(scene.document, 1, "text = read_text(path)")
    assert scene.kept == []
    scene.keeping.saved(scene.document)
    assert [each.path for each in scene.kept] == ["a.py"]
    assert "parse_settings" in scene.kept[0].text


def test_or_when_it_is_there_after_a_minute() -> None:
    scene = Scene()
    scene.keeping.taken(scene.document, 1, "text = read_text(path)")
    scene.keeping.aged(scene.document)
    assert scene.kept == []
    scene.now += KEPT_AFTER
    scene.keeping.aged(scene.document)
    assert len(scene.kept) == 1


def test_what_was_deleted_again_is_not_remembered() -> None:
    scene = Scene()
    scene.keeping.taken(scene.document, 1, "text = read_all(path)")
    scene.keeping.saved(scene.document)
    assert scene.kept == []


@pytest.mark.parametrize("path", ["/work/.env", "/elsewhere/a.py", ""])
def test_files_that_are_kept_from_the_model_are_not_remembered(path: str) -> None:
    scene = Scene(path)
    scene.keeping.taken(scene.document, 1, "text = read_text(path)")
    scene.keeping.saved(scene.document)
    assert scene.kept == []


def test_nor_shown_once_they_are_such_files() -> None:
    scene = Scene()
    scene.keeping.memories[ROOT].add(Memento(".env", "python", CODE))
    assert scene.keeping.find(scene.document, ["parse_settings"], "", BUDGET) == []
