"""What a worker is told to load: a model's files and the options that hold for it."""

from __future__ import annotations

from typing import NamedTuple

from threadrunner.backends.base import AdapterSpec, Hardware, ModelSpec, RemoteServer
from threadrunner.config import Config
from threadrunner.daemon.gguf.parts import file_fingerprint
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.model_settings import ModelSettings

MAX_THREADS = 512
"""As ggml has it; with more, its own memory is overrun."""
MAX_CACHE_BYTES = 1 << 60
"""More is no limit either, and twice as much is not a number that the kernel takes."""


class Companions(NamedTuple):
    """What config.toml says of what is loaded with a model. As it is made: nothing."""

    draft_model: str = ""
    mmproj: str = "off"
    adapters: list[str] = []  # noqa: RUF012
    template: str = ""


def specification(
    model: ModelRef,
    own: ModelSettings,
    config: Config,
    *,
    memory_limit: int,
    cache_dir: str,
    remote: RemoteServer | None,
) -> ModelSpec:
    """`own` are the model's options, `cache_dir` is where state is kept that outlives the worker."""
    return ModelSpec(
        name=model.name,
        path=model.files[0] if model.path else "",
        fingerprint=model.alone.fingerprint,  # the state that is kept is the model's alone
        context=own.context,
        threads=min(own.threads, MAX_THREADS),
        hardware=Hardware(**{name: getattr(own, name) for name in Hardware.__struct_fields__}),
        draft_path=model.draft,
        mmproj_path=model.mmproj,
        mmproj_named=bool(own.mmproj),
        adapters=[
            AdapterSpec(name=name, path=path, scale=scale, fingerprint=file_fingerprint(path))
            for name, path, scale in model.adapters
        ],
        template=model.template,
        memory_limit=memory_limit,
        max_queued=config.max_queued,
        cache_ram=config.cache_ram,
        cache_dir=cache_dir if config.cache_bytes else "",
        cache_bytes=min(config.cache_bytes, MAX_CACHE_BYTES),
        remote=remote,
    )
