"""The LoRA adapters that are loaded with a model, and which of them a request wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threadrunner.api.errors import InvalidParams
from threadrunner.backends.base import AdapterSpec, ModelSpec
from threadrunner.engine.adapters import Blend, blend_of
from threadrunner.engine.llama.adapters import Adapter
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.model import Model


class Adapters:
    """Of one model, by name."""

    def __init__(self, loaded: Sequence[tuple[AdapterSpec, Adapter]] = ()) -> None:
        self._handles = {spec.name: (adapter.handle, spec.fingerprint) for spec, adapter in loaded}
        self._usual = {spec.name: spec.scale for spec, _ in loaded}
        self.usual = self._blend(self._usual)
        """Where a request says nothing."""

    def blend(self, wanted: Mapping[str, float] | None) -> Blend:
        """As a request wants it: names with scales, none of them for the model as it is. Raises InvalidParams."""
        if wanted is None:
            return self.usual
        if unknown := [name for name in wanted if name not in self._handles]:
            raise InvalidParams(f"`lora` names {unknown[0]!r}; {self._known()}")
        return self._blend(wanted)

    def _blend(self, wanted: Mapping[str, float]) -> Blend:
        return blend_of((*self._handles[name], scale) for name, scale in wanted.items())

    def _known(self) -> str:
        if self._usual:
            return f"this model was loaded with {', '.join(self._usual)}"
        return (
            'this model was loaded without adapters: name their files by `adapters` under [models."…"] in config.toml'
        )

    def facts(self) -> dict[str, Any]:
        """For `status`: names, with the scale that each has where a request says nothing."""
        return {"adapters": dict(self._usual)} if self._usual else {}


def load_adapters(spec: ModelSpec, model: Model) -> Adapters:
    """Raises LoadError."""
    loaded = []
    for adapter in spec.adapters:
        try:
            loaded.append((adapter, Adapter(model, adapter.path)))
        except LoadError as error:
            raise LoadError(f"the adapter {adapter.name} cannot be loaded: {error}") from None
    return Adapters(loaded)


def bytes_of(spec: ModelSpec) -> int:
    """Of memory that they take."""
    return sum(Path(adapter.path).stat().st_size for adapter in spec.adapters)
