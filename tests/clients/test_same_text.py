"""After any command the server's text is the buffer's: hundreds of random edits in each real editor, which writes its
buffer beside what the server has then. The commands, names and characters are drawn with a fixed seed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.support import EDITORS, ROOT, clean_env, program

HERE = Path(__file__).parent
TEXTS = ["ab", "é", "€uro", "😀", "x😀y", "foo bar", "a\\tb", "{[(", "-", "ÄÖ", "e\u0301", "　", "foo_bar-baz", "ß"]
CONTENT = "foo bar baz\né😀 one two\n\tthree\n\nalpha beta gamma\n  delta\nFOO Foo foo\nlast 😀😀 line\n"


def recorder(log: Path) -> list[str]:
    return [sys.executable, str(HERE / "recorder.py"), str(log)]


def compare(folder: Path) -> int:
    """The number of places that were compared. Each line of `pairs` names a dump of the buffer, the command before it,
    the cursor's line and byte column, and what the server said it had."""
    lines = (folder / "pairs").read_text().splitlines()
    for line in lines:
        dump, command, row, column, said = json.loads(line)
        has = json.loads(said)
        text = Path(dump).read_bytes().decode("utf-8", "replace")
        assert has["faults"] == [], command
        assert has["text"] == text or (not text and has["text"] == "\n"), f"after {command}"
        before = text.replace("\r\n", "\n").split("\n")[row].encode()[:column].decode()
        assert (has["line"], has["before"]) == (row, before), f"the cursor after {command}"
    return len(lines)


def env(folder: Path) -> dict[str, str]:
    # The editors start the recorder in other folders than this one.
    return clean_env(HOME=str(folder), LC_ALL="C.UTF-8", PYTHONPATH=str(ROOT), TERM="dumb")


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, env=env(folder), stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False
    )
    assert (folder / "done").exists(), (done.stdout + done.stderr).decode("utf-8", "replace")[-3000:]


# ---- Vim and Neovim: the same commands

NORMAL = [
    "itext", "otext", "Otext", "Atext", "x", "X", "dd", "dw", "D", "p", "P", "J", "gJ", "~", "gUU", "guiw", "g~~", "g??",
    ">>", "<<", "u", "u", "\\<C-r>", "yyp", "ddp", "cwtext", "rtext", "Rtext", ".", ".", "gqq", "gqip", "g&", "\\<C-a>",
    "\\<C-v>jltext", "\\<C-v>jItext", "\\<C-v>j$Atext", "\\<C-v>jlx", "\\<C-v>jlctext", "\\<C-v>jr-", "VjJ", "Vj>",
    "viwp", "3itext", "2ddu", "qqAtext\\<Esc>jq2@q", "atext\\<CR>text", "i\\<C-v>u1f600", "ggVGd", "\\<C-v>jyjp",
]  # fmt: skip
EX = [
    "%s/o/0/ge", "%s/$/😀/e", "%s/\\s/\\r/e", "sort", "sort!", "g/a/m0", "g/x/d", "retab", "retab!", "left 2", "center 40",
    "move 0", "copy .", "join", "undo 1", "earlier 3", "later 2", "set ff=dos", "set ff=unix", "set noeol nofixeol",
    "set eol", "%!tac", "r !echo é", "put ='😀'", "saveas! NAME", "file NAME", "set ft=lua", "edit!", "delete", "%d",
    "call append(1, ['é', ''])", "call setline(1, '😀' .. getline(1))", "write!", "normal! gg", "normal! G",
    "call cursor(3, 3)", "call cursor(5, 9)", "normal! 2k", "normal! j", "bufdo %s/a/A/ge",
]  # fmt: skip


def vim_commands(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    commands = []
    for number in range(count):
        if chance.random() < 0.55:
            keys = chance.choice(NORMAL).replace("text", chance.choice(TEXTS))
            commands.append(f'execute "normal! {keys}\\<Esc>"')
        else:
            commands.append(chance.choice(EX).replace("NAME", f"name {number} é.py"))
        if number % 37 == 36:
            commands.append("call Kill()")
    return commands


VIM = r"""
set nocompatible noswapfile encoding=utf-8 fileencodings=utf-8 hidden undolevels=1000 nofixeol shortmess+=A
set runtimepath^=%(plugin)s
let g:threadrunner_command = %(command)s
runtime! plugin/threadrunner.vim
"""
VIM_CHECK = r"""
let s:number = 0
let s:log = '%(log)s'
func Pid()
  return getfsize(s:log) > 0 ? json_decode(readfile(s:log, '', -1)[0]).pid : 0
endfunc
func Kill()
  call system('kill -9 ' .. Pid())
endfunc
" Asks once; again only while no server lives that could answer, and then waits for what it may have asked twice.
func Check(command)
  if line('$') == 1 && getline(1) == ''
    call setline(1, ['foo bar', "é😀\tx", 'baz foo'])
  endif
  let before = getfsize(s:log)
  let again = 0
  call %(ask)s
  for attempt in range(6000)
    if getfsize(s:log) > before | break | endif
    sleep 5m
    if attempt %% 20 == 19 && !isdirectory('/proc/' .. Pid())
      let again = 1
      call %(ask)s
    endif
  endfor
  if again | sleep 300m | endif
  let s:number += 1
  let dump = '%(folder)s/dump' .. s:number
  execute 'noautocmd keepalt silent write! ' .. dump
  let pair = [dump, a:command, line('.') - 1, col('.') - 1, readfile(s:log, '', -1)[0]]
  call writefile([json_encode(pair)], '%(folder)s/pairs', 'a')
endfunc
call Check('start')
"""


def vim_script(folder: Path, ask: str, count: int, seed: int) -> str:
    lines = [VIM_CHECK % {"log": folder / "log", "folder": folder, "ask": ask}]
    for command in vim_commands(count, seed):
        lines += [f"silent! {command}", f"call Check({json.dumps(command, ensure_ascii=False)})"]
    return "\n".join([*lines, f"call writefile([], '{folder}/done')", "qa!", ""])


@pytest.mark.parametrize("seed", [1])
def test_vim(tmp_path: Path, seed: int) -> None:
    (tmp_path / "a.py").write_text(CONTENT)
    (tmp_path / "log").touch()
    command = json.dumps(recorder(tmp_path / "log"))
    (tmp_path / "vimrc").write_text(VIM % {"plugin": EDITORS / "vim", "command": command})
    (tmp_path / "edits.vim").write_text(vim_script(tmp_path, "threadrunner#Ask(v:true)", 150, seed))
    run([program("vim"), "-Nu", "vimrc", "-i", "NONE", "-es", "-S", "edits.vim", "a.py"], tmp_path)
    assert compare(tmp_path) > 150


NVIM = r"""
vim.opt.runtimepath:append(%(plugin)s)
vim.opt.swapfile = false
vim.opt.fixeol = false
vim.cmd('filetype on')
require('threadrunner').setup { cmd = vim.json.decode(%(command)s), builtin = false }
function Ask()
  local client = require('threadrunner').client(0)
  if client and client.initialized and not client:is_stopped() and vim.lsp.buf_is_attached(0, client.id) then
    local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
    params.context = { triggerKind = 1 }
    client:request('textDocument/inlineCompletion', params, function() end, 0)
  end
end
"""


# During start-up, no option's change is an event.
AFTER_STARTUP = "call timer_start(1, {-> execute('source edits.vim')})"


@pytest.mark.parametrize("seed", [1])
def test_neovim(tmp_path: Path, seed: int) -> None:
    (tmp_path / "a.py").write_text(CONTENT)
    (tmp_path / "log").touch()
    command = json.dumps(json.dumps(recorder(tmp_path / "log")))
    plugin = json.dumps(str(EDITORS / "neovim"))
    (tmp_path / "init.lua").write_text(NVIM % {"plugin": plugin, "command": command})
    (tmp_path / "edits.vim").write_text(vim_script(tmp_path, "luaeval('Ask()')", 150, seed))
    run([program("nvim"), "--headless", "-u", "init.lua", "-i", "NONE", "a.py", "-c", AFTER_STARTUP], tmp_path)
    assert compare(tmp_path) > 150
