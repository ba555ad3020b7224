"""The pictures of a conversation: which of them the model is still shown, and where they stand."""

from __future__ import annotations

from threadrunner.api.chat import ImagePart, Message, TextPart
from threadrunner.daemon.conversations.pictures import MAX_BYTES, left_out
from threadrunner.daemon.conversations.said import Asked, PastTurn, messages

ONE, TWO = ImagePart(b"1"), ImagePart(b"2")


def test_old_ones_leave_in_groups_and_new_ones_stay() -> None:
    assert [left_out([1] * count, 1) for count in (1, 16, 17, 24, 25, 33)] == [0, 0, 8, 8, 16, 24]
    assert left_out([1] * 26, 16) == 10
    assert left_out([MAX_BYTES // 4] * 5, 1) == 4
    assert left_out([MAX_BYTES], 1) == 0


def test_each_stands_before_what_was_said_with_it() -> None:
    turns = [PastTurn(1, "look", "I see", "done", pictures=[ONE]), PastTurn(2, "lost", None, "lost", pictures=[TWO])]
    said = messages(turns, Asked("well?", pictures=[ONE]))
    assert said == [
        Message("user", [ONE, TextPart("look")]),
        Message("assistant", "I see"),
        Message("user", [TWO, ONE, TextPart("lost\n\nwell?")]),
    ]
    assert messages([], Asked("", pictures=[ONE])) == [Message("user", [ONE])]
    again = [PastTurn(1, "look", None, "lost", pictures=[ONE])]  # the same once more, after its answer was lost
    assert messages(again, Asked("look", pictures=[ONE])) == [Message("user", [ONE, TextPart("look")])]
