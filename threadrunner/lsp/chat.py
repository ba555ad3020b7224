"""`threadrunner.chat`: a conversation with the chat model about the editor's code, streamed."""

from __future__ import annotations

from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams

from threadrunner.api.errors import ApiError
from threadrunner.lsp.client import EditorClient
from threadrunner.lsp.session import Session

CHAT = "threadrunner.chat"
TOKEN = "threadrunner/token"
CODE_CHARS = 200_000
"""Characters of a file that are sent with a prompt, at most."""
REPORT_CHARS = 80
"""Characters of the answer's end that a progress report shows."""
RESULT = ("text", "finish_reason", "model", "usage", "timings")
PARTS = ("tool_calls", "reasoning")
"""What a result has besides, where the model has called or thought."""
PASSED_ON = ("system", "mode", "max_tokens", "temperature", "seed", "tools", "tool_choice", "reasoning")


async def chat(session: Session, request: Any, token: lsp.ProgressToken | None) -> dict[str, Any]:
    """A conversation's next answer: {text, finish_reason, model, usage, timings, tool_calls?, reasoning?}.

    `request` is {prompt | messages, system?, mode?, uri?, range?, stream?, max_tokens?, temperature?, seed?, tools?,
    tool_choice?, reasoning?}; the mode is `code` where none is named. With `uri`, the file's text, or the range's, is
    sent too. Pieces of the text are sent as `threadrunner/token` {stream, text} when `stream` (any id) is given, and as
    `$/progress` reports when the client has sent a work-done token. Calls and thinking are no text: they are in the
    answer. Nothing calls a tool but the client, which answers with a message of role `tool`. Raises JsonRpcException.
    """
    if not isinstance(request, dict):
        raise JsonRpcInvalidParams(f"{CHAT} takes an object with `prompt` or `messages`")
    messages = _messages(session, request)
    options: dict[str, Any] = {"mode": "code", "context_overflow": "truncate"}
    for name in PASSED_ON:
        if request.get(name) is not None:
            options[name] = request[name]
    relay = _Relay(session.editor, request.get("stream"), token)
    relay.begin()
    try:
        answer = await session.generate(messages, options, relay.receive)
    except ApiError as error:
        raise JsonRpcException(error.message, code=error.code, data=error.data) from None
    finally:
        relay.end()
    return {name: answer.get(name) for name in RESULT} | {name: answer[name] for name in PARTS if name in answer}


class _Relay:
    """Passes an answer's pieces on to the editor, as far as it has asked for them."""

    def __init__(self, editor: EditorClient, stream: Any, token: lsp.ProgressToken | None) -> None:
        self._editor = editor
        self._stream = stream
        self._token = token
        self._text = ""

    def begin(self) -> None:
        self._report(lsp.WorkDoneProgressBegin(title="ThreadRunner", cancellable=True))

    def receive(self, name: str, payload: dict[str, Any]) -> None:
        """A notification of the daemon."""
        if name != "token":
            return
        if "kind" in payload:
            doing = "thinking" if payload["kind"] == "reasoning" else "writing a call"
        else:
            self._text += payload["text"]
            doing = self._text[-REPORT_CHARS:]
            if self._stream is not None:
                self._editor.notify(TOKEN, {"stream": self._stream, "text": payload["text"]})
        self._report(lsp.WorkDoneProgressReport(message=doing, cancellable=True))

    def end(self) -> None:
        self._report(lsp.WorkDoneProgressEnd())

    def _report(self, value: lsp.WorkDoneProgressBegin | lsp.WorkDoneProgressReport | lsp.WorkDoneProgressEnd) -> None:
        if self._token is not None:
            self._editor.notify(lsp.PROGRESS, lsp.ProgressParams(token=self._token, value=value))


def _messages(session: Session, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation, with the file's text in the last message of the user. Raises JsonRpcInvalidParams for an empty
    one."""
    messages = [dict(message) for message in request.get("messages") or []]
    if request.get("prompt"):
        messages.append({"role": "user", "content": str(request["prompt"])})
    if not messages:
        raise JsonRpcInvalidParams(f"{CHAT} takes an object with `prompt` or `messages`")
    document = session.documents.get(str(request.get("uri", "")))
    asked = next((message for message in reversed(messages) if message.get("role") == "user"), None)
    if document is not None and asked is not None and session.ignore.completes(document.name):
        text = document.whole()
        if isinstance(request.get("range"), dict):
            start, end = (document.place(lsp.Position(**request["range"][side])) for side in ("start", "end"))
            text = document.between(start, end) or text
        code = f"```{document.language}\n{text[:CODE_CHARS]}\n```"
        asked["content"] = f"{asked['content']}\n\n{code}"
    return messages
