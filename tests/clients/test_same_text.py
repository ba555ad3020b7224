"""After any command the server's text is the buffer's: hundreds of random edits in each real editor, which writes its
buffer beside what the server has then. The commands, names and characters are drawn with a fixed seed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.clients.support import EDITORS, ROOT, clean_env, program

HERE = Path(__file__).parent
TEXTS = ["ab", "é", "€uro", "😀", "x😀y", "foo bar", "a\\tb", "{[(", "-", "ÄÖ", "e\u0301", "\u3000", "foo_bar-baz", "ß"]
CONTENT = "foo bar baz\né😀 one two\n\tthree\n\nalpha beta gamma\n  delta\nFOO Foo foo\nlast 😀😀 line\n"

COMMANDS = 100
"""In each editor; 5 seconds."""
SEED = int(os.environ.get("THREADRUNNER_TEST_SEED", "1"))
"""Another one draws other commands."""


def recorder(log: Path) -> list[str]:
    return [sys.executable, str(HERE / "recorder.py"), str(log)]


def compare(folder: Path, last_end: bool = True) -> int:
    """The number of places that were compared. Each line of `pairs` names a dump of the buffer, the command before it,
    the cursor's line and byte column, and what the server said it had.

    Without `last_end`, a line end behind the last line is no difference: Neovim's own client adds one in the changes
    of a file that has none."""
    lines = (folder / "pairs").read_text().splitlines()
    for line in lines:
        dump, command, row, column, said = json.loads(line)
        has = json.loads(said)
        text = Path(dump).read_bytes().decode("utf-8", "replace")
        assert has["faults"] == [], command
        theirs = has["text"] if last_end and text else has["text"].removesuffix("\n").removesuffix("\r")
        ours = text if last_end else text.removesuffix("\n").removesuffix("\r")
        assert theirs == ours, f"after {command}"
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


def drawn(file: str, kill: str) -> list[str]:
    """Commands of a file, drawn with texts and names put in; now and then the server dies."""
    chance = random.Random(SEED)
    known = (HERE / file).read_text().splitlines()
    commands = []
    for number in range(COMMANDS):
        command = chance.choice(known)
        if "text-mode" not in command:
            command = command.replace("text", chance.choice(TEXTS))
        commands.append(kill if number % 37 == 36 else command.replace("NAME", f"name {number} é.py"))
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
" Asks once; again only while no server lives that could answer, and then waits until what it asked twice is answered.
func Check(command)
  if line('$') == 1 && getline(1) == ''
    call setline(1, ['foo bar', "é😀\tx", 'baz foo'])
  endif
  let before = getfsize(s:log)
  let again = 0
  call %(ask)s
  for attempt in range(12000)
    if getfsize(s:log) > before | break | endif
    sleep 5m
    if attempt %% 20 == 19 && !isdirectory('/proc/' .. Pid())
      let again = 1
      call %(ask)s
    endif
  endfor
  if again
    call %(status)s
    while !has_key(json_decode(readfile(s:log, '', -1)[0]), 'barrier') | sleep 5m | endwhile
  endif
  let s:number += 1
  let dump = '%(folder)s/dump' .. s:number
  execute 'noautocmd keepalt silent write! ' .. dump
  let pair = [dump, a:command, line('.') - 1, col('.') - 1, readfile(s:log, '', again ? -2 : -1)[0]]
  call writefile([json_encode(pair)], '%(folder)s/pairs', 'a')
endfunc
call Check('start')
"""


def vim_script(folder: Path, ask: str, status: str) -> str:
    lines = [VIM_CHECK % {"log": folder / "log", "folder": folder, "ask": ask, "status": status}]
    for command in drawn("edits_vim.txt", "call Kill()"):
        lines += [f"silent! {command}", f"call Check({json.dumps(command, ensure_ascii=False)})"]
    return "\n".join([*lines, f"call writefile([], '{folder}/done')", "qa!", ""])


def test_vim(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CONTENT)
    (tmp_path / "log").touch()
    command = json.dumps(recorder(tmp_path / "log"))
    (tmp_path / "vimrc").write_text(VIM % {"plugin": EDITORS / "vim", "command": command})
    (tmp_path / "edits.vim").write_text(vim_script(tmp_path, "threadrunner#Ask(v:true)", "threadrunner#Status()"))
    run([program("vim"), "-Nu", "vimrc", "-i", "NONE", "-es", "-S", "edits.vim", "a.py"], tmp_path)
    assert compare(tmp_path) > COMMANDS


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
function Status()
  require('threadrunner').client(0):request('threadrunner/status', vim.empty_dict(), function() end, 0)
end
"""


# During start-up, no option's change is an event.
AFTER_STARTUP = "call timer_start(1, {-> execute('source edits.vim')})"


def test_neovim(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CONTENT)
    (tmp_path / "log").touch()
    command = json.dumps(json.dumps(recorder(tmp_path / "log")))
    plugin = json.dumps(str(EDITORS / "neovim"))
    (tmp_path / "init.lua").write_text(NVIM % {"plugin": plugin, "command": command})
    (tmp_path / "edits.vim").write_text(vim_script(tmp_path, "luaeval('Ask()')", "luaeval('Status()')"))
    run([program("nvim"), "--headless", "-u", "init.lua", "-i", "NONE", "a.py", "-c", AFTER_STARTUP], tmp_path)
    assert compare(tmp_path, last_end=False) > COMMANDS


# ---- Emacs

EMACS = r"""
(require 'threadrunner)
(require 'python)
(setq make-backup-files nil auto-save-default nil create-lockfiles nil require-final-newline nil
      mode-require-final-newline nil python-indent-guess-indent-offset nil vc-handled-backends nil
      coding-system-for-write 'utf-8-emacs-unix undo-inhibit-record-point t)
(set-language-environment "UTF-8")
(prefer-coding-system 'utf-8-unix)
(setq threadrunner-command %(command)s)
(add-hook 'text-mode-hook #'threadrunner-mode)
(add-hook 'prog-mode-hook #'threadrunner-mode)
(defvar number 0)
(defun size () (file-attribute-size (file-attributes "%(log)s")))
(defun said (&optional back)
  (with-temp-buffer (insert-file-contents "%(log)s") (goto-char (point-max)) (forward-line (- (or back 1)))
                    (buffer-substring (point) (line-end-position))))
(defun pid () (if (> (size) 0) (gethash "pid" (json-parse-string (said))) 0))
(defun die () (call-process "kill" nil nil nil "-9" (number-to-string (pid))))
(defun alive () (file-directory-p (format "/proc/%%d" (pid))))
;; A byte that is no text, in a file that is not UTF-8, is U+FFFD.
(defun text (begin end)
  (replace-regexp-in-string "[^\0-\x10ffff]" "\xfffd" (buffer-substring-no-properties begin end)))
(defun check (command)
  (when (= (buffer-size) 0) (insert "foo bar\né😀\tx\n"))
  (unless threadrunner-mode (threadrunner-mode 1))
  (let ((before (size)) (again nil) (tries 0))
    (threadrunner-suggest)
    (while (and (= (size) before) (< tries 12000))
      (accept-process-output nil 0.005)
      (setq tries (1+ tries))
      (when (and (= (%% tries 20) 0) (not (alive)))
        (setq again t)
        (threadrunner-suggest)))
    (when again (jsonrpc-request threadrunner--connection :threadrunner/status (make-hash-table)))
    (setq number (1+ number))
    (dump command (if again (said 2) (said)))))
(defun dump (command said)
  (let ((dump (format "%(folder)s/dump%%d" number))
        (here (list (1- (line-number-at-pos nil t))
                    (string-bytes (text (let ((inhibit-field-text-motion t)) (line-beginning-position)) (point))))))
    (write-region (save-restriction (widen) (text (point-min) (point-max))) nil dump nil 'silent)
    (let ((line (json-serialize (vector dump command (car here) (cadr here) said))))
      (write-region (concat (decode-coding-string line 'utf-8) "\n") nil "%(folder)s/pairs" t 'silent))))
(find-file "a.py")
(check "start")
(defmacro try (command &rest body)
  `(progn (undo-boundary) (ignore-errors ,@body) (run-hooks 'post-command-hook) (check ,command)))
"""


def test_emacs(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(CONTENT)
    (tmp_path / "log").touch()
    command = "'(" + " ".join(json.dumps(word) for word in recorder(tmp_path / "log")) + ")"
    lines = [EMACS % {"command": command, "log": tmp_path / "log", "folder": tmp_path}]
    edits = drawn("edits_emacs.txt", "(die)")
    lines += [f"(try {json.dumps(edit, ensure_ascii=False)} {edit})" for edit in edits]
    (tmp_path / "edits.el").write_text("\n".join([*lines, '(write-region "" nil "done")', "(kill-emacs 0)", ""]))
    run([program("emacs"), "-Q", "--batch", "-L", str(EDITORS / "emacs"), "-l", "edits.el"], tmp_path)
    assert compare(tmp_path) > COMMANDS
