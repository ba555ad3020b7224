"""Which turns the model is shown: pure."""

from typing import Any

from threadrunner.daemon.conversations.said import Asked, PastTurn, lost_answers, messages
from threadrunner.daemon.conversations.window import choose, estimate, shorter

NOW = Asked("now")
STAY = Asked("now", system="stay")


def said(*turns: PastTurn, prompt: str = "now", system: str | None = None) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in messages(turns, Asked(prompt, system=system))]


def done(id: int, size: int = 1, tokens: int | None = None) -> PastTurn:
    return PastTurn(id, f"q{id} " * size, f"a{id} " * size, "done", tokens)


def test_turns_become_messages_after_the_system_prompt() -> None:
    assert said(PastTurn(1, "q", "a", "done"), system="be brief") == [
        ("system", "be brief"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "now"),
    ]


def test_a_stopped_answer_stays_as_far_as_it_came() -> None:
    assert said(PastTurn(1, "q", "half an", "stopped")) == [("user", "q"), ("assistant", "half an"), ("user", "now")]


def test_a_failed_or_empty_turn_leaves_with_its_prompt() -> None:
    turns = [PastTurn(1, "q", None, "failed"), PastTurn(2, "q", None, "stopped"), PastTurn(3, "q", "broken", "failed")]
    assert said(*turns) == [("user", "now")]


def test_the_words_of_a_lost_turn_are_said_with_the_next_ones() -> None:
    lost = PastTurn(1, "before", None, "lost")
    assert said(lost) == [("user", "before\n\nnow")]
    assert said(lost, prompt="before") == [("user", "before")]
    assert said(lost, done(2)) == [("user", "before\n\nq2 "), ("assistant", "a2 "), ("user", "now")]


def test_only_answers_lost_right_before_are_told() -> None:
    lost = PastTurn(1, "x", None, "lost")
    assert lost_answers([lost, lost]) == 2
    assert lost_answers([lost, done(2)]) == 0
    assert lost_answers([]) == 0


def test_a_window_that_fits_stays_where_it_is() -> None:
    turns = [done(1, tokens=100), done(2, tokens=200)]
    window = choose(turns, NOW, first=0, limit=4096, max_tokens=None)
    assert (window.first, window.left_out, len(window.messages)) == (0, 0, 5)


def test_a_full_context_loses_its_oldest_turns_far_enough_to_last() -> None:
    turns = [done(n, size=100, tokens=n * 200) for n in range(1, 11)]
    window = choose(turns, STAY, first=0, limit=2048, max_tokens=100)
    assert window.left_out == window.first - 1
    assert 4 <= window.left_out <= 7  # about half of the context goes
    assert window.messages[0].content == "stay"
    assert window.messages[1].content == turns[window.first - 1].prompt
    later = [*turns, done(11, size=10, tokens=1200)]
    again = choose(later, STAY, first=window.first, limit=2048, max_tokens=100)
    assert again.first == window.first  # the prefix that is cached stays


def test_a_prompt_that_fills_the_context_leaves_no_turn() -> None:
    turns = [done(1), done(2)]
    window = choose(turns, STAY._replace(prompt="word " * 4000), first=0, limit=1000, max_tokens=None)
    assert [message.role for message in window.messages] == ["system", "user"]
    assert (window.first, window.left_out) == (3, 2)


def test_after_an_overflow_the_window_is_always_shorter() -> None:
    turns = [done(1), done(2)]
    window = shorter(turns, NOW, first=0, limit=10**6, counted=5000)
    assert (window.first, window.left_out) == (2, 1)


def test_the_estimate_starts_from_what_the_model_counted() -> None:
    assert estimate([done(1, size=10, tokens=777)], Asked("")) == 777
    assert estimate([], Asked("x" * 1000)) > 200
