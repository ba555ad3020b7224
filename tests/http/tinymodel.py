"""`serve` before a daemon with a tiny model of random weights: for what the dummy backend cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from tests.backends import tiny
from tests.http.served import Served
from tests.support import Daemon

MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>")


def serving_tiny() -> Iterator[Served]:
    """The models `tiny.gguf`, which generates, and `tiny-embed.gguf`, whose vectors are means."""
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL="tiny.gguf")
    models = daemon.home / "models"
    models.mkdir()
    words = tiny.bytes_vocabulary(dict.fromkeys(MARKERS, tiny.CONTROL))
    tiny.llama(models / "tiny.gguf", words)
    tiny.llama(models / "tiny-embed.gguf", words, pooling_type=tiny.MEAN)
    served = Served(daemon.start())
    try:
        yield served
    finally:
        served.close()
        daemon.close()
