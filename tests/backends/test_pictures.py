"""Pictures in the engine, by encoders with random weights: what is said equals what llama.cpp's own helper comes to,
whatever else goes on and wherever the cells were meanwhile.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import tiny, tiny_sight
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from tests.backends.tiny_sight import png
from threadrunner.api.chat import ImagePart, Message, TextPart
from threadrunner.api.errors import ApiError, InvalidParams, NotSupported
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Failed, Finished, Piece
from threadrunner.engine.llama import library
from threadrunner.engine.llama.context import OK, Context
from threadrunner.engine.llama.model import Model
from threadrunner.engine.png import inflates_too_far

PROMPT = "Look at this: <__media__> What is in the picture?"
KINDS = ("mlp", "gemma3", "idefics3", "windowed", "turning")
"""Of the encoder; `windowed`: the kind gemma3, and a model some of whose layers look back 48 tokens; `turning`:
Qwen2-VL's, whose rows have positions by line and column (M-RoPE; see test_turning.py)."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    folder, made = tmp_path_factory.mktemp("pictures"), {}
    for kind in KINDS:
        path = folder / f"{kind}.gguf"
        words = tiny_sight.sliced_vocabulary() if kind == "idefics3" else None
        if kind == "turning":
            model = tiny.turning(path, tiny_sight.turning_vocabulary())
        else:
            model = tiny.windowed(path) if kind == "windowed" else tiny.untied(path, words, context_length=1024)
        encoder = {"windowed": "gemma3", "turning": "qwen2vl_merger"}.get(kind, kind)
        made[kind] = {"path": str(model), "mmproj_path": str(tiny_sight.mmproj(folder / f"mm-{kind}.gguf", encoder))}
    return made


@pytest.fixture(scope="module", params=KINDS)
def seeing(request: pytest.FixtureRequest, files: dict[str, dict[str, str]]) -> Iterator[Loaded]:
    with Loaded(Path(files[request.param]["path"]), mmproj_path=files[request.param]["mmproj_path"]) as loaded:
        yield loaded


def look(seed: int = 1, prompt: str = PROMPT, **more: Any) -> GenerateParams:
    return greedy(prompt, images=[ImagePart(png(seed=seed))], **{"logprobs": 2, **more})


def encoded(loaded: Loaded) -> int:
    assert loaded.engine.sight is not None
    return loaded.engine.sight.encoded


def by_the_helper(path: str, mmproj_path: str, count: int, prompt: str, *pictures: bytes) -> list[int]:
    """The likeliest tokens behind the prompt, as llama.cpp's command for pictures gets them."""
    mtmd: Any = library.submodule("mtmd_cpp")
    model = Model(path)
    context = Context(model, n_cells=2048, n_seq=1, n_batch=512, n_ubatch=512, threads=1)
    params = mtmd.mtmd_context_params_default()
    params.use_gpu, params.n_threads, params.warmup = False, 1, False
    sight = mtmd.mtmd_init_from_file(mmproj_path.encode(), model.handle, params)
    chunks = mtmd.mtmd_input_chunks_init()
    text = mtmd.mtmd_input_text(prompt.encode(), len(prompt), True, True)
    bitmaps = (ctypes.c_void_p * len(pictures))()
    for i, data in enumerate(pictures):
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        bitmaps[i] = mtmd.mtmd_helper_bitmap_init_from_buf(sight, buffer, len(data), False)
    assert mtmd.mtmd_tokenize(sight, chunks, ctypes.byref(text), bitmaps, len(pictures)) == 0
    position = ctypes.c_int32()
    status = mtmd.mtmd_helper_eval_chunks(sight, context.handle, chunks, 0, 0, 512, True, ctypes.byref(position))
    assert status == 0
    said: list[int] = []
    row = context.row(-1).copy()
    while len(said) < count:
        said.append(int(row.argmax()))
        context.clear_batch()
        context.add(0, position.value + len(said) - 1, said[-1:], True)
        assert context.decode() == OK
        row = context.row(0)
    mtmd.mtmd_free(sight)
    context.close()
    model.close()
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_llama_cpps_own_helper_says(kind: str, files: dict[str, dict[str, str]]) -> None:
    said = by_the_helper(*files[kind].values(), 16, PROMPT, png())
    with Loaded(Path(files[kind]["path"]), mmproj_path=files[kind]["mmproj_path"]) as loaded:
        id = loaded.submit(look(special=True))
        loaded.backend.step()
        (sequence,) = loaded.engine.cells.running
        loaded.finish(id)
        assert sequence.tokens[len(sequence.request.prompt) :] == said
        assert len(sequence.tokens) == len(sequence.request.prompt) + 16


def test_a_picture_counts(seeing: Loaded) -> None:
    one, other = seeing.ask(look(1)), seeing.ask(look(2))
    assert one.logprobs[0].logprob != other.logprobs[0].logprob
    assert one.usage.prompt_tokens == other.usage.prompt_tokens > len(PROMPT.replace("<__media__>", ""))


def test_the_second_time_it_is_not_encoded_again_and_cells_add_up(seeing: Loaded) -> None:
    seeing.forget()
    first = seeing.ask(look())
    before = encoded(seeing)
    again = seeing.ask(look())
    assert encoded(seeing) == before
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert_same_or_close(first, again, EXACT)
    assert seeing.cells_in_llama() == seeing.engine.cells.used()


def test_a_cache_never_ends_within_a_picture(seeing: Loaded) -> None:
    seeing.forget()
    seeing.ask(look(1))
    other = seeing.ask(look(2))
    assert other.usage.cached_tokens >= len("Look at this: ")
    spans = _spans(seeing, 2)
    assert not any(span.begin < other.usage.cached_tokens < span.end for span in spans)


def _spans(loaded: Loaded, seed: int) -> Any:
    request, _ = loaded.backend.loaded.requests.generate(0, look(seed))
    return request.spans


def test_beside_others_and_twice_at_once(seeing: Loaded) -> None:
    seeing.forget()
    alone = {seed: seeing.ask(look(seed)) for seed in (1, 2)}
    text = seeing.ask(greedy("Nothing to see here.", logprobs=2))
    seeing.forget()
    ids = [seeing.submit(params) for params in (look(1), greedy("Nothing to see here.", logprobs=2), look(2), look(1))]
    ends, _ = seeing.finish(*ids)
    answers = [ends[id] for id in ids]
    for found, expected in zip(answers, (alone[1], text, alone[2], alone[1]), strict=True):
        assert isinstance(found, Generated)
        assert_same_or_close(found, expected, EXACT)
    assert seeing.cells_in_llama() == seeing.engine.cells.used()


def test_candidates_fork_it(seeing: Loaded) -> None:
    seeing.forget()
    before = encoded(seeing)
    parts = len(_spans(seeing, 3))
    result = seeing.ask(look(3, n=3, temperature=1.5))
    assert len(result.choices) == 3
    assert encoded(seeing) - before <= parts


def test_others_get_a_token_between_the_steps_of_a_picture(seeing: Loaded) -> None:
    seeing.forget()
    talker = seeing.submit(greedy("Talk on and on.", max_tokens=64, stream=True, ignore_eos=True))
    while not any(isinstance(event, Piece) for event in seeing.backend.step()):
        pass
    looker = seeing.submit(look(7, max_tokens=1))
    (sequence,) = (s for s in seeing.engine.cells.running if s.request.id == talker)
    steps = []
    done = False
    while not done:
        said, before = len(sequence.tokens), encoded(seeing)
        events = seeing.backend.step()
        done = any(isinstance(event, Finished) and event.id == looker for event in events)
        steps.append((len(sequence.tokens) > said, encoded(seeing) > before))
    assert any(looked for _, looked in steps)
    assert all(talked or next_talked for (talked, _), (next_talked, _) in itertools.pairwise(steps))
    assert not any(talked and looked for talked, looked in steps)
    seeing.backend.cancel(talker)


def test_a_cancel_is_heard_after_the_encoding(seeing: Loaded) -> None:
    seeing.forget()
    expected = seeing.ask(look(8))
    seeing.forget()
    before = encoded(seeing)
    seeing.engine.sight._rows.clear()  # type: ignore[union-attr]
    id = seeing.submit(look(8))
    while encoded(seeing) == before:
        seeing.backend.step()
    seeing.backend.cancel(id)
    assert not seeing.engine.busy
    assert seeing.cells_in_llama() == seeing.engine.cells.used()
    assert_same_or_close(seeing.ask(look(8)), expected, EXACT)


def test_parked_in_memory_and_on_disk(tmp_path: Path, files: dict[str, dict[str, str]]) -> None:
    for kind in ("mlp", "gemma3", "turning"):
        spec = {**files[kind], "cache_dir": str(tmp_path), "cache_bytes": 1 << 24}
        path, long = Path(spec.pop("path")), PROMPT + " It is a long question, so that it is worth a file." * 2
        with Loaded(path, **spec) as loaded:
            first = loaded.ask(look(prompt=long))
            while loaded.backend.tidy():
                pass
            while loaded.engine.cells.evict_one():
                pass
            before = encoded(loaded)
            again = loaded.ask(look(prompt=long))
            assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
            assert encoded(loaded) == before
            assert_same_or_close(first, again, EXACT)
        with Loaded(path, **spec) as loaded:
            again = loaded.ask(look(prompt=long))
            assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
            assert encoded(loaded) == 0
            assert_same_or_close(first, again, EXACT)
            other = loaded.ask(look(2, prompt=long))
            assert other.usage.cached_tokens < 60


def test_several_in_a_conversation(seeing: Loaded) -> None:
    def part(seed: int) -> ImagePart:
        return ImagePart(png(seed=seed))

    talk = [
        Message("user", [TextPart("First "), part(1), TextPart(" then "), part(2), TextPart(" differ how?")]),
        Message("assistant", "In colour."),
        Message("user", [part(3), TextPart("And this [picture]?")]),
    ]
    request, _ = seeing.backend.loaded.requests.generate(0, GenerateParams(messages=talk))
    assert [span.picture.data for span in request.spans if span.part == 0] == [png(seed=seed) for seed in (1, 2, 3)]
    assert all(request.prompt[span.begin] < 0 for span in request.spans)
    assert sum(token < 0 for token in request.prompt) == sum(span.size for span in request.spans)
    result = seeing.ask(GenerateParams(messages=talk, temperature=0, max_tokens=4))
    assert result.usage.prompt_tokens == len(request.prompt)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (look(prompt="a <__media__> b <__media__> c"), "1 pictures for 2 <__media__>"),
        (greedy("a", images=[ImagePart(b"GIF89a")]), "cut short"),
        (greedy("a", images=[ImagePart(png()), ImagePart(b"RIFF\0\0\0\0WEBPVP8 ")]), "it is WebP"),
    ],
)
def test_what_is_wrong_is_said_at_once(seeing: Loaded, params: GenerateParams, says: str) -> None:
    with pytest.raises(InvalidParams, match=says):
        seeing.submit(params)


def test_a_prompt_that_ends_with_a_picture(seeing: Loaded) -> None:
    """Rows give no logits; an encoder that puts a token behind them has no such need of a text."""
    request, _ = seeing.backend.loaded.requests.generate(0, look(prompt="a <__media__>b"))
    if request.spans[-1].end == len(request.prompt) - 1:
        with pytest.raises(InvalidParams, match="ends with a picture"):
            seeing.submit(look(prompt="a <__media__>"))
    else:
        assert isinstance(seeing.ask(look(prompt="a <__media__>")), Generated)


def test_a_damaged_picture_is_an_error_of_its_request(seeing: Loaded) -> None:
    whole = png()
    for damaged in (whole[:60], whole[:-60] + bytes(60), whole[:29] + bytes(4) + whole[33:80] + bytes(80)):
        result = seeing.ask(greedy("Well?", images=[ImagePart(damaged)]))
        assert isinstance(result, Failed), damaged
        assert result.code == InvalidParams.code
        assert "decoded" in result.message
    assert isinstance(seeing.ask(look()), Generated)


def test_what_inflates_to_more_than_it_says_is_never_inflated(seeing: Loaded) -> None:
    """A file of 40 kB whose pixels would be 40 MB: the decoder's buffer would grow to all of it."""
    bomb = png(8, 8, pixels=bytes(40 << 20))
    assert len(bomb) < 1 << 16
    result = seeing.ask(greedy("Well?", images=[ImagePart(bomb)]))
    assert isinstance(result, Failed) and "inflates to more than its size" in result.message
    assert not inflates_too_far(png()) and not inflates_too_far(bomb[:200]) and not inflates_too_far(b"GIF89a")


def test_a_model_without_an_encoder_says_what_to_do(tmp_path: Path) -> None:
    with Loaded(tiny.untied(tmp_path / "blind.gguf")) as blind, pytest.raises(NotSupported, match="mmproj"):
        blind.submit(look())


def test_an_encoder_of_another_width(tmp_path: Path) -> None:
    model = tiny.untied(tmp_path / "model.gguf")
    other = str(tiny_sight.mmproj(tmp_path / "mmproj.gguf", width=64))
    with Loaded(model, mmproj_path=other) as loaded, pytest.raises(NotSupported):  # it only lay beside the model
        loaded.submit(look())
    with pytest.raises(ApiError, match="mismatch between text model"):
        Loaded(model, mmproj_path=other, mmproj_named=True)


def test_penalties_and_drafts_see_no_numbers_of_pictures(seeing: Loaded) -> None:
    seeing.backend.loaded.engine.speculation.choose("always")
    result = seeing.ask(look(max_tokens=48, repeat_penalty=1.2, penalty_window=-1))
    assert isinstance(result, Generated)
    seeing.backend.loaded.engine.speculation.choose("auto")
