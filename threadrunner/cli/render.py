"""What the user sees: the answer on standard output, everything else on standard error.

Written with os.write: nothing stays in a buffer, so the process may end at any point.
"""

from __future__ import annotations

import os
import select
import time

from threadrunner.cli import signals
from threadrunner.wire import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from threadrunner.api.errors import ApiError

_REDRAW_SECONDS = 0.1
_QUIET_SECONDS = 0.4  # a load or a prefill that is over by then is not worth a line
_DAY_SECONDS = 86400
_STUCK_SECONDS = 1.0
_PIECE = 4096  # PIPE_BUF: as much as a pipe that can be written to takes without waiting


def printable(text: str) -> str:
    """`text` for a terminal: control characters, which could move the cursor, set the title or fake other programs'
    output, become visible signs; newline and tab stay."""
    return text if text.isprintable() else text.translate(_visible())


def _visible(table: dict[int, int | None] = {}) -> dict[int, int | None]:  # noqa: B006 - made once, when first needed
    if not table:
        table.update({code: 0x2400 + code for code in range(0x20)})
        table.update(dict.fromkeys(range(0x80, 0xA0), 0xFFFD))
        table.update(dict.fromkeys(range(0xD800, 0xE000), 0xFFFD))  # bytes that are not UTF-8: no stream takes them
        table.update({0x7F: 0x2421, 0x0A: 0x0A, 0x09: 0x09, 0x0D: None})
    return table


def put(fd: int, text: str) -> None:
    """All of `text` as UTF-8. Raises OSError, BrokenPipeError among them."""
    data = text.encode("utf-8", "backslashreplace")
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # another process made the descriptor non-blocking for all that share it
            select.select([], [fd], [])


def out(text: str) -> None:
    """`text` to standard output; on a terminal its control characters are shown as signs. Raises OSError."""
    put(1, printable(text) if os.isatty(1) else text)


def json_line(value: dict[str, Any]) -> str:
    return messages.encode(value).decode() + "\n"


def say(text: str) -> None:
    """One line for the user on standard error, whatever `text` has; that it may be closed is not an error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = "".join(line + (" " if line[-1] in ".…:;!?" else ". ") for line in lines[:-1]) + (lines or [""])[-1]
    try:  # noqa: SIM105 - contextlib is one more import for every prompt
        put(2, f"threadrunner: {printable(text) if os.isatty(2) else text}\n")
    except OSError:
        pass


class AnswerWriter:
    """Standard output: the answer's text as it arrives, and a newline at its end where it has none."""

    def __init__(self) -> None:
        self.terminal = os.isatty(1)
        self._open = False  # the last line has no newline yet

    def write(self, text: str) -> None:
        if text:
            self._open = True  # before the write: a signal that ends the process may come between the two
            out(text)
            self._open = not text.endswith("\n")

    def finish(self) -> None:
        if self._open:
            put(1, "\n")
            self._open = False

    def break_off(self) -> None:
        """The answer ends early: on a terminal the next output starts on a new line, a program gets no newline that
        was not in the answer."""
        if self.terminal:
            self.finish()


class Events:
    """Standard output under --json: one object per line, the last of which is a result or an error. It stays so where a
    signal or a timeout ends the process, so a line under way is finished first."""

    def __init__(self) -> None:
        self._rest = b""  # of the line under way
        self._ended = False

    def emit(self, event: str, payload: dict[str, Any]) -> None:
        line = json_line({"event": event, **payload})
        self._rest = (printable(line) if os.isatty(1) else line).encode()
        self._ended = event in ("result", "error")
        self._flush(None)

    def error(self, error: ApiError, code: int) -> None:
        """The last event, unless there was one. Called by a signal's handler too, so a stuck reader is not waited for:
        OSError then."""
        self._flush(_STUCK_SECONDS)
        if not self._ended:
            payload = {"code": error.code, "message": error.message, "data": error.data, "exit": code}
            self._ended = True
            self._rest = json_line({"event": "error", **payload}).encode()
            self._flush(_STUCK_SECONDS)

    def _flush(self, seconds: float | None) -> None:
        """Raises OSError, BlockingIOError where the reader takes nothing for that long."""
        while self._rest:
            if not select.select([], [1], [], seconds)[1]:
                raise BlockingIOError
            signals.whole(self._write_some)

    def _write_some(self) -> None:
        try:  # noqa: SIM105 - contextlib is one more import for every prompt
            self._rest = self._rest[os.write(1, self._rest[:_PIECE]) :]
        except BlockingIOError:  # another process made the descriptor non-blocking, and wrote more than we
            pass


class ProgressLine:
    """How far a download, a load, a long prefill or a hidden thought has come: a line on a terminal, erased when it is
    over. Where standard error is not a terminal, only the start and the end of a download are reported."""

    def __init__(self) -> None:
        self._terminal = os.isatty(2) and os.environ.get("TERM") != "dumb"
        self._stage = ""
        self._began = 0.0
        self._began_at = 0
        self._drawn = 0.0
        self._visible = False
        self._fetching = False

    def show(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self.finish()
            self._stage, self._began, self._began_at = stage, now, done
        if stage == "download" and not self._terminal:
            self._announce(done, total)
        if not self._terminal or now - self._drawn < _REDRAW_SECONDS:
            return
        if stage != "download" and now - self._began < _QUIET_SECONDS:
            return
        self._drawn, self._visible = now, True
        width = os.get_terminal_size(2).columns or 80
        _try_put(f"\r\x1b[K{self._line(stage, done, total, now)[: width - 1]}")

    def finish(self) -> None:
        """It is over: nothing stays on the screen. Called before anything else is written."""
        self.clear()
        if self._fetching:
            self._fetching = False
            say("the model is fetched")

    def clear(self) -> None:
        """Nothing stays on the screen, and nothing is reported: the process ends, or the request failed."""
        self._stage, self._drawn = "", 0.0
        if self._visible:
            self._visible = False
            _try_put("\r\x1b[K")

    def _announce(self, done: int, total: int) -> None:
        if not self._fetching and (total == 0 or done < total):
            self._fetching = True
            say(f"fetching the model, {size(total)}; this is done once" if total else "fetching the model")

    def _line(self, stage: str, done: int, total: int, now: float) -> str:
        if stage == "prefill":
            return f"reading the prompt: {done} of {total} tokens"
        if stage == "answers":
            return f"{done} of {total} answers"
        if stage in ("reasoning", "call"):
            return f"{'thinking' if stage == 'reasoning' else 'writing a call'}, {counted(done, 'token')}"
        verb = {"load": "loading the model", "download": "fetching"}.get(stage, stage)
        if total <= 0:
            return f"{verb} … {size(done)}" if done > 1 else f"{verb} …"
        share = min(1.0, done / total)
        bar = "#" * int(share * 24)
        line = f"{verb} [{bar:24}] {share:4.0%}"
        elapsed = now - self._began
        if stage == "download":
            line += f"  {size(done)} of {size(total)}"
            if elapsed > 0.5 and done > self._began_at:
                rate = (done - self._began_at) / elapsed
                line += f"  {size(int(rate))}/s  {duration((total - done) / rate)} left"
        return line


def _try_put(text: str) -> None:
    try:  # noqa: SIM105 - contextlib is one more import for every prompt
        put(2, text)
    except OSError:
        pass


def err(text: str) -> None:
    """`text` to standard error, as `out` has it; that it may be closed is not an error."""
    _try_put(printable(text) if os.isatty(2) else text)


def asked(host: str) -> None:
    """On a terminal, one dim line: the answer came from another machine."""
    if os.isatty(2):
        plain = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
        line = f"asked {printable(one_line(host))}"
        _try_put(f"{line}\n" if plain else f"\x1b[2m{line}\x1b[22m\n")


def notices(result: dict[str, Any]) -> None:
    """Report what happened to the conversation beside its answer."""
    if lost := result.get("lost_answers"):
        what = "the answer before this one was" if lost == 1 else f"{lost} answers before this one were"
        message = "that message was" if lost == 1 else "those messages were"
        say(f"{what} lost when the daemon was killed; {message} sent again together with this prompt")
    vote = result.get("vote") or {}
    if vote.get("otherwise"):
        say(f"the answers agree by {vote.get('agreement', 0):.2f} only, so {vote['otherwise']} was asked")
    if unanswered := result.get("unanswered_calls"):
        what = "a call before this prompt has" if unanswered == 1 else f"{unanswered} calls before this prompt have"
        say(f"{what} no result; the model was told that you went on without")
    if left := result.get("truncated_turns"):
        turns = "the oldest turn" if left == 1 else f"the {left} oldest turns"
        say(f"the conversation is longer than the model's context: it no longer sees {turns}; nothing was deleted")


def stats_line(result: dict[str, Any]) -> str:
    usage, timings = result.get("usage") or {}, result.get("timings") or {}
    thought = usage.get("reasoning_tokens")
    parts = [
        f"{result.get('model')}{' by [route]' if result.get('because') else ''}: "
        f"prompt {usage.get('prompt_tokens', 0)} tokens ({usage.get('cached_tokens', 0)} cached), "
        f"answer {usage.get('completion_tokens', 0)} tokens"
        f"{f', {thought} of them thought' if thought else ''} ({result.get('finish_reason')})",
        f"first token {timings.get('ttft_ms', 0):.0f} ms",
    ]
    if usage.get("completion_tokens", 0) > 1:  # one token has no rate
        parts.append(f"{timings.get('tokens_per_second', 0):.1f} tok/s")
    if vote := result.get("vote"):
        parts.append(_voted(vote))
    if timings.get("load_ms", 0) >= 1:
        parts.append(f"load {timings['load_ms']:.0f} ms")
    if timings.get("queue_ms", 0) >= 1:
        parts.append(f"queue {timings['queue_ms']:.0f} ms")
    return ", ".join(parts)


def _voted(vote: dict[str, Any]) -> str:
    if vote["by"] == "client":
        return f"answer {vote.get('chosen', 0) + 1} of {vote['n']} passed ({vote['answers']} were complete)"
    agree = f"{vote.get('votes', 0)} of {vote['answers']} answers agree ({vote.get('agreement', 0):.2f})"
    if vote.get("otherwise"):
        return f"asked since only {agree}, after {vote.get('completion_tokens', 0)} tokens of theirs"
    spared = vote["n"] - vote["answers"]
    return f"{agree}, {spared} {'was' if spared == 1 else 'were'} not needed" if spared else agree


def size(count: int) -> str:
    """Bytes in words: 93 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 10 and unit != "B" else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """A time in words: 4 s, 3 min, 2 h 05 min."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def ago(then: float | None) -> str:
    """How long ago that was, in seconds since the epoch: 4 s ago, 3 d ago; - for never."""
    if not then:
        return "-"
    passed = max(0.0, time.time() - then)
    return f"{duration(passed)} ago" if passed < _DAY_SECONDS else f"{int(passed // _DAY_SECONDS)} d ago"


def date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def counted(number: int, noun: str) -> str:
    """1 turn, 2 turns."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def with_pictures(prompt: str, number: int) -> str:
    """A prompt that was shown together with so many pictures."""
    return f"[{counted(number, 'picture')}] {prompt}".rstrip() if number else prompt


def one_line(text: str, limit: int = 60) -> str:
    """At most `limit` characters of `text`, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)
