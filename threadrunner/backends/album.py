"""The pictures of one request: marks in its texts, then places in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from threadrunner.api.chat import ImagePart
from threadrunner.api.chat import Message as ApiMessage
from threadrunner.api.errors import InvalidParams
from threadrunner.api.pictures import BadPicture, look
from threadrunner.engine.errors import Refused, Unsupported
from threadrunner.engine.pictures import Span
from threadrunner.engine.prompts.chat import Rendered
from threadrunner.engine.prompts.picture_marks import check_all_there, mark, shown
from threadrunner.engine.sight import Sight

RAW_MARK = "<__media__>"
"""Where a picture goes in a prompt without a template: llama-server's word for it."""


class Album:
    """Numbers the pictures in the order in which they are met."""

    def __init__(self, sight: Sight | None, blind_because: str = "") -> None:
        """`blind_because`: why there is no sight."""
        self._sight = sight
        self._blind_because = blind_because
        self._images: list[ImagePart] = []

    def mark(self, image: ImagePart) -> str:
        """Stands for the picture in a text. Raises Unsupported for a model that takes none."""
        if self._sight is None:
            raise Unsupported(f"this model takes no pictures here: {self._blind_because}")
        self._images.append(image)
        return mark(len(self._images) - 1)

    def content(self, message: ApiMessage) -> str:
        if not isinstance(message.content, list):
            return message.content or ""
        return "".join(self.mark(part) if isinstance(part, ImagePart) else part.text for part in message.content)

    def prompt(self, text: str, images: Sequence[ImagePart]) -> str:
        """The pictures, then the text."""
        return "".join(map(self.mark, images)) + text

    def raw(self, text: str, images: Sequence[ImagePart]) -> str:
        """Where the text has RAW_MARK, as often as there are pictures; else before it. Raises InvalidParams."""
        pieces = text.split(RAW_MARK) if images else [text]
        if len(pieces) == 1:
            return self.prompt(text, images)
        if len(pieces) != len(images) + 1:
            raise InvalidParams(f"{len(images)} pictures for {len(pieces) - 1} {RAW_MARK} in the prompt")
        return pieces[0] + "".join(self.mark(image) + after for image, after in zip(images, pieces[1:], strict=True))

    def put(self, prompt: Rendered, wanted: Sequence[int]) -> Rendered:
        """The prompt with what stands for the pictures, which are those of these numbers. Raises EngineError, and
        InvalidParams for a file that is no picture."""
        check_all_there(prompt.tokens, wanted)
        if not wanted or self._sight is None:
            return prompt
        tokens: list[int] = []
        spans: list[Span] = []
        for token in prompt.tokens:
            if token >= 0:
                tokens.append(token)
                continue
            placed, parts = self._placed(self._sight, self._images[-1 - token], len(tokens))
            tokens += placed
            spans += parts
        if tokens[-1] < 0:
            raise Refused("the prompt ends with a picture; put some text behind it")
        return replace(prompt, tokens=tokens, text=shown(prompt.text), spans=tuple(spans))

    @staticmethod
    def _placed(sight: Sight, image: ImagePart, begin: int) -> tuple[list[int], list[Span]]:
        try:
            facts = look(image.data)
        except BadPicture as error:  # the daemon has looked; others call us too
            raise InvalidParams(f"a picture cannot be used: {error}") from None
        return sight.layout(sight.picture(image.data), facts.width, facts.height, begin)
