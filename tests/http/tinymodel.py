"""`serve` before a daemon with tiny models of random weights: for what the dummy backend cannot do.

What they say means nothing; counts of tokens, log-probabilities, vectors, templates and the cache are real.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.backends import tiny, tiny_sight
from tests.http.served import Served
from tests.support import Daemon

MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|im_start|>", "<|im_end|>")
# It refuses what many templates refuse: a system message that is not the first, roles that do not alternate.
TEMPLATE = """\
{%- for message in messages %}
{%- if message.role == 'system' and not loop.first %}{{ raise_exception('System comes first.') }}{% endif %}
{%- if not loop.first and message.role == loop.previtem.role %}{{ raise_exception('Roles must alternate.') }}{% endif %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""


def serving_tiny() -> Iterator[Served]:
    """The models `tiny.gguf`, which is the default and takes pictures, and `tiny-embed.gguf`, whose vectors are
    means."""
    # One thread: several wait for one another in a loop, a hundred times as long where others want the cores.
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL="tiny.gguf", THREADRUNNER_THREADS="1")
    models = daemon.home / "models"
    models.mkdir()
    words = tiny.bytes_vocabulary(dict.fromkeys(MARKERS, tiny.CONTROL))
    chat = {**words, "tokenizer.chat_template": TEMPLATE}
    tiny.llama(models / "tiny.gguf", chat, context_length=4096)
    tiny.llama(models / "tiny-embed.gguf", words, pooling_type=tiny.MEAN)
    tiny_sight.mmproj(models / "mmproj-tiny-f16.gguf")
    served = Served(daemon.start())
    try:
        yield served
    finally:
        served.close()
        daemon.close()
