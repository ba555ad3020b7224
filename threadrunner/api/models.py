"""Params and results of models.*."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from threadrunner.api.fields import KeepAlive, ModelName, Offline, described

Origin = Literal["config.toml", "all models", "file", "default"]


class ModelParams(Struct, kw_only=True, forbid_unknown_fields=True):
    model: ModelName | None = None
    backend: Annotated[str, Meta(max_length=64)] | None = None


class LoadParams(ModelParams, kw_only=True, forbid_unknown_fields=True):
    keep_alive: KeepAlive | None = None
    offline: Offline = False


class CatalogModel(Struct, kw_only=True):
    """A model that can be named. What its file's header says is known only if the file is present."""

    name: str
    path: str | None = None
    size_bytes: Annotated[int, described("all its files together")] = 0
    present: bool = False
    loaded: bool = False
    default: bool = False
    description: str = ""
    architecture: Annotated[str, described("its kind of network, as llama.cpp names it")] | None = None
    quantization: str | None = None
    parameters: int | None = None
    context: Annotated[int, described("tokens that it was trained for")] | None = None
    width: Annotated[int, described("numbers in an embedding")] | None = None
    vocabulary: Annotated[int, described("how many tokens it knows")] | None = None
    fim: Annotated[bool, described("whether it can infill")] | None = None
    chat_template: Annotated[bool, described("whether it was made for conversations")] | None = None
    vision: (
        Annotated[bool, described("whether an encoder of pictures lies beside it, or is named by config.toml")] | None
    ) = None
    last_used: Annotated[float, described("Unix time")] | None = None
    keeper: Annotated[
        str, described("which program's store the file is in, for example Ollama; empty: ours, or the user's own")
    ] = ""
    problem: Annotated[str, described("why it cannot be used")] | None = None
    host: Annotated[str, described("the machine that it is on; empty: this one")] = ""
    does: Annotated[list[str], described("of the catalog's: chat, code, tools, thinking, embed")] | UnsetType = UNSET
    licence: Annotated[str, described("likewise")] | UnsetType = UNSET
    active_parameters: Annotated[int, described("likewise: those that one token needs")] | UnsetType = UNSET
    layers: Annotated[int, described("likewise")] | UnsetType = UNSET
    kv_bytes: Annotated[int, described("likewise: of KV cache, for each token at 16 bits")] | UnsetType = UNSET
    rank: Annotated[int, described("likewise: the higher is preferred, among those that do the same")] | UnsetType = (
        UNSET
    )


class ModelListParams(Struct, forbid_unknown_fields=True):
    fetchable: Annotated[bool, described("also those that could be fetched by a short name")] = False


class ModelList(Struct):
    models: list[CatalogModel]


class NamedModel(Struct, forbid_unknown_fields=True):
    model: ModelName


class ModelShowParams(NamedModel, forbid_unknown_fields=True):
    templates: Annotated[bool, described("with the texts of its chat templates")] = False


class ModelShown(CatalogModel, kw_only=True):
    """One model in full. `title` is what its file calls itself."""

    title: str = ""
    files: list[str] = field(default_factory=list)
    sampling: Annotated[
        dict[str, float],
        described("what its file recommends, in llama.cpp's words; holds where request, mode and session say nothing"),
    ] = field(default_factory=dict)
    source: Annotated[str, described("where it is fetched from; empty: nowhere")] = ""
    mmproj: Annotated[
        str, described("the encoder with which it sees pictures: a file beside it, or one that config.toml names")
    ] = ""
    templates: (
        Annotated[dict[str, str], described('its chat templates by name, "default" first; where they were asked for')]
        | UnsetType
    ) = UNSET
    settings: Annotated[
        dict[str, Any], described("of the options for its next load, those that are not as by default")
    ] = field(default_factory=dict)
    defaults: Annotated[
        dict[str, Any],
        described("params that a request gets which says nothing of them; for infill the choice of tokens only"),
    ] = field(default_factory=dict)
    origins: Annotated[
        dict[str, Origin],
        described(
            "where each value of `settings` and `defaults` comes from: the model's table in config.toml, an option for "
            "all models, the model's file, or us"
        ),
    ] = field(default_factory=dict)
    facts: Annotated[dict[str, Any], described("while it is loaded: as in `status`")] = field(default_factory=dict)


class Removed(Struct):
    """The files that were removed. The model is unloaded first."""

    model: str
    files: list[str]
    size_bytes: int
    mmproj: (
        Annotated[str, described("of `files`, its encoder of pictures: no other model here uses it")] | UnsetType
    ) = UNSET


class Loaded(Struct):
    model: str
    path: str
    context: int
    load_ms: float


class Unloaded(Struct):
    """The names of the models that were unloaded; a busy one ends its requests first."""

    models: list[str]


class PullParams(Struct, forbid_unknown_fields=True):
    model: Annotated[
        str,
        described("a catalog name, hf:owner/repo[:quantization or file], or the full path of a file or folder to copy",
             min_length=1, max_length=4096),
    ]  # fmt: skip
    mmproj: Annotated[
        bool,
        described("with the encoder of pictures that its repository or folder may have, also of a model that is here"),
    ] = True


class Pulled(Struct):
    model: str
    path: str
    size_bytes: Annotated[int, described("all its files together, and `mmproj`")]
    mmproj: Annotated[str, described("the encoder of pictures that lies beside it")] | UnsetType = UNSET
    missing: (
        Annotated[str, described("what its repository has for it beside the model and could not be fetched, and why")]
        | UnsetType
    ) = UNSET
