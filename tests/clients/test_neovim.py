"""Neovim 0.11 with our plugin: ghost text, accept all, a word, a line, dismiss; chat; and its own completion menu."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.nvim import Nvim
from tests.clients.support import CASES, IDS, Case, clean_env
from tests.lsp.standin import Standin

Opener = Callable[..., Nvim]
SETTINGS = {"settings": {"debounceMs": 0, "speculate": False}}


@pytest.fixture
def nvim(standin: Standin, tmp_path: Path) -> Iterator[Opener]:
    opened: list[Nvim] = []

    def start(content: bytes, name: str = "a.py", before: str = "", **options: object) -> Nvim:
        close()
        file = tmp_path / name
        file.write_bytes(content)
        opened.append(Nvim(tmp_path, {**clean_env(), **standin.env}, file, {**SETTINGS, **options}, before))
        return opened[-1]

    def close() -> None:
        for each in opened:
            each.close()
        opened.clear()

    yield start
    close()


def written(case: Case) -> bytes:
    """An empty buffer has no line; one with text ends its last line."""
    return case.after if case.before else case.after + b"\n"


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_accepting_all_is_exact(nvim: Opener, standin: Standin, tmp_path: Path, case: Case) -> None:
    standin.says = case.answer
    editor = nvim(case.before)
    editor.insert_at(case.line, case.column)
    editor.keys(case.keys.replace("<", "<lt>"))
    editor.wait_ghost(case.says)
    editor.keys("<Tab><Esc>:w<CR>")  # at once: what follows the Tab must not overtake the text
    editor.wait("not vim.bo.modified and vim.fn.mode() == 'n'", "saved")
    assert (tmp_path / "a.py").read_bytes() == written(case)
    editor.quit()


def test_typing_along_word_line_dismiss(nvim: Opener, standin: Standin, tmp_path: Path) -> None:
    standin.says = lambda params: "compute(one, two)\ny = 2" if str(params["prefix"]).endswith("x = ") else ""
    editor = nvim(b"x =\n")
    editor.insert_at(0, 3)
    editor.keys(" ")
    editor.wait_ghost("compute(one, two)\ny = 2")
    editor.keys("com")
    editor.wait_ghost("pute(one, two)\ny = 2")
    editor.keys("<M-Right>")
    editor.wait_ghost("(one, two)\ny = 2")
    editor.keys("<M-l>")
    editor.wait_ghost("\ny = 2")
    assert editor.lua("vim.api.nvim_get_current_line()").strip() == "x = compute(one, two)"
    editor.keys("<C-]>")
    editor.wait("require('threadrunner.ghost').text(0) == nil", "dismissed")
    editor.keys("<Esc>:w<CR>")
    editor.wait("not vim.bo.modified", "saved")
    assert (tmp_path / "a.py").read_bytes() == b"x = compute(one, two)\n"
    assert [seen.params["prefix"] for seen in standin.of("infill")][-1] == "x = ", "the rest came from the cache"
    editor.do("vim.lsp.buf_request_sync(0, 'threadrunner/status', vim.empty_dict(), 60000)")  # behind the save, in turn
    editor.quit()
    counted = (standin.home / "suggestions.jsonl").read_text()
    assert '"shown": 1' in counted and '"word": 1' in counted and '"line": 1' in counted and '"taken": 1' in counted


def test_tab_without_a_suggestion_is_a_tab(nvim: Opener) -> None:
    editor = nvim(b"a\n")
    editor.do("vim.bo.expandtab = false")
    editor.insert_at(0, 1)
    editor.keys("<Tab><Esc>:w<CR>")
    editor.wait("vim.api.nvim_get_current_line() == 'a\\t' and not vim.bo.modified", "a tab")
    editor.quit()


def test_a_new_key_cancels_in_the_daemon(nvim: Opener, standin: Standin) -> None:
    standin.hold()
    editor = nvim(b"\n")
    editor.insert_at(0, 0)
    editor.keys("a")
    standin.wait(lambda: any(seen.params["prefix"] == "a" for seen in standin.of("infill")), "a request")
    standin.speak(next(seen for seen in standin.of("infill") if seen.params["prefix"] == "a"), "nother")
    editor.keys("b")
    standin.wait(lambda: any(seen.params["prefix"] == "a" for seen in standin.of("infill", "cancelled")), "its cancel")
    editor.quit()


def test_choosing_among_candidates(nvim: Opener, standin: Standin) -> None:
    standin.says = lambda params: ["one", "two"] if params.get("n") else ""
    editor = nvim(b"x = \n")
    editor.insert_at(0, 4)
    editor.keys("<M-\\>")
    editor.wait_ghost("one")
    editor.keys("<M-]>")
    editor.wait_ghost("two")
    editor.quit()


def test_chat_streams_into_a_buffer(nvim: Opener, standin: Standin) -> None:
    standin.says = lambda params: "It adds\none."
    editor = nvim(b"x = x + 1\n")
    editor.keys(":%ThreadRunner what is this?<CR>")
    text = "table.concat(vim.api.nvim_buf_get_lines(vim.fn.bufnr('ThreadRunner'), 0, -1, false), '\\n')"
    editor.wait(f"vim.fn.bufnr('ThreadRunner') ~= -1 and {text}:find('It adds\\none.', 1, true) ~= nil", "the answer")
    (seen,) = standin.of("generate")
    assert "x = x + 1" in seen.params["messages"][-1]["content"]
    editor.quit()


CHAT = "table.concat(vim.api.nvim_buf_get_lines(vim.fn.bufnr('ThreadRunner'), 0, -1, false), '\\n')"
TROUBLE = "vim.api.nvim_exec2('messages', {output = true}).output"


def half_answered(editor: Nvim, standin: Standin) -> None:
    standin.says = lambda params: f"to {params['messages'][-1]['content']}"
    standin.hold()
    editor.keys(":ThreadRunner one<CR>")
    standin.speak(standin.wait_for(1, "generate")[0], "half\n")
    editor.wait(f"vim.fn.bufnr('ThreadRunner') ~= -1 and {CHAT} == '## one\\n\\nhalf\\n'", "half an answer")


def test_a_new_question_ends_the_answer_to_the_last_one(nvim: Opener, standin: Standin) -> None:
    """The end of that one is told while the new one's answer is coming already."""
    editor = nvim(b"\n")
    half_answered(editor, standin)
    editor.keys(":ThreadRunner two<CR>")
    standin.wait_for(1, "generate", "cancelled")
    new = standin.wait_for(2, "generate")[1]
    standin.speak(new, "begun\n")
    editor.wait(f"{CHAT}:find('begun', 1, true)", "its beginning")
    standin.speak(new, "more\n")
    editor.wait(f"{CHAT} == '## one\\n\\nhalf\\n\\n*stopped*\\n\\n## two\\n\\nbegun\\nmore\\n'", "what goes on")
    editor.keys(":ThreadRunner stop<CR>")
    editor.wait(f"{CHAT}:find('more\\n\\n*stopped*\\n', 1, true)", "its end")
    standin.release()
    editor.keys(":ThreadRunner three<CR>")
    editor.wait(f"{CHAT}:find('## three\\n\\nto three', 1, true)", "the next answer")
    editor.quit()


@pytest.mark.parametrize("close", ["bdelete", "bwipeout"])
def test_a_chat_that_is_closed_in_mid_answer(nvim: Opener, standin: Standin, close: str) -> None:
    editor = nvim(b"\n")
    half_answered(editor, standin)
    editor.do(f"vim.cmd('{close}! ' .. vim.fn.bufnr('ThreadRunner'))")
    standin.speak(standin.of("generate")[0], "more\n")
    standin.release()
    standin.wait_for(1, "generate", "answered")
    editor.keys(":ThreadRunner two<CR>")
    editor.wait(f"{CHAT} == '## two\\n\\nto two\\n\\n'", "a chat of its own")
    assert len(standin.of("generate")[-1].params["messages"]) == 1
    assert editor.lua("vim.bo[vim.fn.bufnr('ThreadRunner')].buftype") == "nofile"
    assert "Error" not in editor.lua(TROUBLE)
    editor.quit()


def test_a_server_that_ends_in_mid_answer(nvim: Opener, standin: Standin) -> None:
    editor = nvim(b"\n")
    half_answered(editor, standin)
    editor.kill_server()
    editor.wait(f"{CHAT}:find('*the server ended*', 1, true)", "a word of that")
    editor.wait("(require('threadrunner').client() or {}).initialized", "another one")
    standin.release()
    # For an instant there is a client without a server: this is what it says of requests then.
    editor.do("client = require('threadrunner').client(); client.request = function() return false end")
    editor.keys(":ThreadRunner unheard<CR>")
    editor.wait(f"{CHAT}:find('## unheard\\n\\n\\n*the server has ended', 1, true)", "a word of that")
    editor.do("client.request = nil")
    editor.keys(":ThreadRunner two<CR>")
    editor.wait(f"{CHAT}:find('## two\\n\\nto two\\n\\n', 1, true)", "an answer")
    editor.quit()


def test_rewriting_lines(nvim: Opener, standin: Standin) -> None:
    standin.says = lambda params: "Sure:\n```python\nx += 1\n```\n"
    editor = nvim(b"if y:\n    x = x + 1\n")
    editor.keys(":2ThreadRunner rewrite shorter<CR>")
    editor.wait("vim.api.nvim_buf_get_lines(0, 1, 2, false)[1] == '    x += 1'", "the rewritten line")
    editor.quit()


def test_the_status_line_tells(nvim: Opener, standin: Standin) -> None:
    standin.says = lambda params: "1"
    editor = nvim(b"x = \n")
    editor.wait("require('threadrunner').status():find('✓') ~= nil", "ready")
    editor.quit()


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_plain_menu_is_exact_too(nvim: Opener, standin: Standin, tmp_path: Path, case: Case) -> None:
    """No plugin's ghost text: vim.lsp.completion, whose own insertion would cut and re-indent the text."""
    standin.says = case.answer
    editor = nvim(case.before, menu=True)
    editor.do("vim.o.completeopt = 'menuone,noinsert'")
    editor.insert_at(case.line, case.column)
    editor.keys(case.keys.replace("<", "<lt>"))
    editor.do("vim.lsp.completion.get()")
    editor.wait("vim.fn.pumvisible() == 1", "the menu")
    editor.keys("<C-y>")
    end = case.says.rpartition("\n")[2]
    editor.wait(
        "table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n'):find([==[" + end + "]==], 1, true) ~= nil",
        "the text",
    )
    editor.keys("<Esc>:w<CR>")
    editor.wait("not vim.bo.modified and vim.fn.mode() == 'n'", "saved")
    assert (tmp_path / "a.py").read_bytes() == written(case)
    editor.quit()


BUILTIN = """
vim.lsp.inline_completion = {
  enable = function(on, filter)
    assert(not (filter.bufnr and filter.client_id), '`bufnr` and `client_id` are mutually exclusive.')
    Enabled = { on, filter.bufnr and 'buffer' }
  end,
  get = function(options)
    vim.validate('options', options, 'table', true)
    vim.schedule(function() vim.api.nvim_paste('BUILTIN', false, -1) end)
    return true
  end,
}
"""
"""As strict as Neovim 0.12.0 is. No registry has that version; its own was tried by hand."""


def test_the_built_in_ghost_text_is_for_those_who_want_it(nvim: Opener, standin: Standin) -> None:
    editor = nvim(b"x\n", before=BUILTIN, builtin=True)
    editor.keys("A<Tab>")
    editor.wait("vim.api.nvim_get_current_line() == 'xBUILTIN'", "what Neovim had suggested")
    standin.says = lambda params: "lpha" if str(params["prefix"]).endswith("a") else ""
    editor = nvim(b"x\n", before=BUILTIN)
    assert editor.lua("vim.inspect(Enabled)").strip() == "{ false }", "or it would be drawn twice"
    editor.keys("A a")
    editor.wait_ghost("lpha")


def typing(nvim: Opener, standin: Standin) -> Nvim:
    """Insert mode behind `x = 1 a`, where `lpha(beta)` is suggested."""
    standin.says = lambda params: "lpha(beta)" if str(params["prefix"]).endswith("a") else ""
    editor = nvim(b"x = 1\nyy\n")
    editor.insert_at(0, 5)
    editor.keys(" a")
    editor.wait_ghost("lpha(beta)")
    return editor


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ("<Tab><Tab>", ["x = 1 alpha(beta)\t", "yy"]),
        ("x<Tab>", ["x = 1 ax\t", "yy"]),
        ("<M-Right><M-Right>", ["x = 1 alpha(", "yy"]),
        ("<Tab><Esc>u", ["x = 1 a", "yy"]),
        ("<Tab><Esc>j.", ["x = 1 alpha(beta)", "yy alpha(beta)"]),
    ],
)
def test_keys_that_arrive_together(nvim: Opener, standin: Standin, keys: str, lines: list[str]) -> None:
    editor = typing(nvim, standin)
    editor.do("vim.bo.expandtab = false")
    editor.keys(keys + "<Esc>")
    wanted = "\\n".join(lines).replace("\t", "\\t")
    editor.wait(
        f"table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n') == '{wanted}' and vim.fn.mode() == 'n'", keys
    )


def test_the_keys_own_meaning_where_nothing_is_shown(nvim: Opener, standin: Standin) -> None:
    editor = nvim(b"x\n\n")
    editor.do("vim.keymap.set('i', '<Tab>', 'USER')")
    editor.keys("A<Tab><Esc>")
    editor.wait("vim.api.nvim_get_current_line() == 'xUSER' and vim.fn.mode() == 'n'", "the user's map")
    editor.do("vim.keymap.del('i', '<Tab>')")
    editor.do("vim.keymap.set('i', '<Tab>', function() return 'called' end, { expr = true })")
    editor.keys("A<Tab><Esc>")
    editor.wait("vim.api.nvim_get_current_line() == 'xUSERcalled'", "the user's expression")


def test_a_dead_server_is_started_again(nvim: Opener, standin: Standin) -> None:
    editor = typing(nvim, standin)
    editor.kill_server()
    editor.wait("require('threadrunner').deaths == 1", "its end")
    editor.wait("(require('threadrunner').client() or {}).initialized", "another one")
    editor.wait_ghost("lpha(beta)")  # without another key
    editor.keys("<Esc>oy = a")
    editor.wait_ghost("lpha(beta)")
    editor.do("require('threadrunner').setup { cmd = { 'nowhere', 'lsp' } }")
    said = editor.lua("vim.api.nvim_exec2('messages', {output = true}).output")
    assert "the server ended (signal 9)" in said and "there is no program `nowhere`; set `cmd`" in said
