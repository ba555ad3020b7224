"""The families of models that were trained to fill in code: the texts of their control tokens, and their layout.

The engine lays out prompts by these, a remote is asked with them, and prompts in which a client has put them are read
back. Pure, so that no one of these needs llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InfillFamily:
    """One row: the texts of a family's control tokens ("" where it has none) and the layout that measured best."""

    name: str
    pre: str
    suf: str
    mid: str
    repo: str = ""
    file: str = ""
    end: str = ""
    """What the model says behind a middle, where that is not one of its ends of a text."""
    also: str = ""
    """A token that tells its models from those of another family which have the same ones."""
    anchored: bool = False
    suffix_first: bool = False
    """The suffix, then all of the prefix; it was trained so."""


# Only Qwen's layout has been measured (docs/performance.md); the others keep their trained order, healed.
FAMILIES = (
    InfillFamily(
        "qwen", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>", anchored=True
    ),
    InfillFamily("codegemma", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", file="<|file_separator|>"),
    InfillFamily("granite4", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    InfillFamily(
        "mellum", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", file="<filename>", also="<|im_start|>",
        suffix_first=True,
    ),
    InfillFamily("starcoder", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", file="<file_sep>"),
    InfillFamily("granite", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    InfillFamily("santacoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    InfillFamily("deepseek", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001
    InfillFamily("seed", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", suffix_first=True),
    InfillFamily("codellama", "▁<PRE>", "▁<SUF>", "▁<MID>", end="▁<EOT>"),
    InfillFamily("codestral", "[PREFIX]", "[SUFFIX]", "", suffix_first=True),
)  # fmt: skip
