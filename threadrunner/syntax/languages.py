"""The table of languages: how comments, strings and blocks are written, one row a family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Blocks = Literal["indent", "braces", "words", "lists", "tags", "none"]
"""What makes a block: its indentation (Python), braces (C), words such as `end` (Ruby), nested lists (Lisp), tags
(HTML), or nothing at all (prose, data)."""


@dataclass(frozen=True, slots=True)
class Language:
    """A row: languages that are written alike, by the ids that LSP has for them."""

    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    """Of file names, for a text whose language was not said."""
    blocks: Blocks
    line_comments: tuple[str, ...] = ()
    block_comments: tuple[tuple[str, str], ...] = ()
    quotes: str = "\"'"
    """What begins and ends a string of one line."""
    long_strings: tuple[tuple[str, str], ...] = ()
    """What begins and ends a string of several lines."""
    characters: tuple[str, ...] = ()
    """What stands for a single character, as regular expressions: a bracket or a quote in it is none."""
    paired: bool = True
    """Whether all of a file's brackets come in pairs. A pattern of a shell's `case`, and "1)" in prose, close what
    nothing opened: there, brackets are counted on the cursor's line alone."""
    middle_words: frozenset[str] = frozenset()
    """They go on with a block at its head's indentation: `else`."""
    end_words: frozenset[str] = frozenset()
    """They end a block at its head's indentation: `end`."""
    top_level: tuple[str, ...] = ()
    """What begins a line that is never within a block, at the line's very beginning."""
    fences: bool = False
    """Whether Markdown's fences are part of it, outside comments too."""

    @property
    def comment(self) -> tuple[str, str]:
        """What begins a comment that takes a whole line, and what ends it: nothing where the line's end does."""
        if self.line_comments:
            sign = self.line_comments[0].strip()
            return (sign * 2 if self.blocks == "lists" else sign), ""
        return self.block_comments[0] if self.block_comments else ("//", "")

    @property
    def guessed(self) -> bool:
        """Whether brackets are counted even where kinds and indentation disagree; where brackets are all there is, or
        come alone, they are not."""
        return self.paired and self.blocks != "lists"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_C_COMMENTS = (("/*", "*/"),)
_QUOTED_CHARACTER = r"'(?:\\[^\n]{1,9}?|[^\\'\n])'"
_CASE_PATTERN = r"(?<=\n)[ \t]*[^\s()$\"'`=|]+(?:[ \t]*\|[ \t]*[^\s()$\"'`=|]+)*\)"
"""Of a shell's `case`: a closing bracket that has no opener."""
_C_WORDS = _words("else catch finally while case default")

_PYTHONS = ("def ", "class ", "if __name__", "print(", "#")

TABLE = (
    Language(
        ("python", "starlark", "cython"), (".py", ".pyi", ".pyx", ".bzl"), "indent", ("#",),
        long_strings=(('"""', '"""'), ("'''", "'''")),
        middle_words=_words("else elif except finally case"),
        top_level=_PYTHONS,
    ),
    Language(
        ("javascript", "typescript", "javascriptreact", "typescriptreact", "vue", "svelte"),
        (".js", ".mjs", ".cjs", ".ts", ".mts", ".jsx", ".tsx", ".vue", ".svelte"), "braces", ("//",), _C_COMMENTS,
        long_strings=(("`", "`"),), middle_words=_C_WORDS,
    ),
    Language(
        ("c", "cpp", "objective-c", "objective-cpp", "cuda-cpp", "java", "csharp", "groovy", "glsl", "verilog"),
        (".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".m", ".mm", ".cu", ".java", ".cs", ".groovy", ".glsl"),
        "braces", ("//",), _C_COMMENTS, quotes='"', long_strings=(('"""', '"""'),), characters=(_QUOTED_CHARACTER,),
        middle_words=_C_WORDS,
    ),
    Language(
        ("rust", "zig"), (".rs", ".zig"), "braces", ("//",), _C_COMMENTS, quotes="",
        long_strings=(('r#"', '"#'), ('"', '"')), characters=(_QUOTED_CHARACTER,), middle_words=_C_WORDS,
    ),
    Language(
        ("go",), (".go",), "braces", ("//",), _C_COMMENTS, quotes='"', long_strings=(("`", "`"),),
        characters=(_QUOTED_CHARACTER,), middle_words=_C_WORDS,
    ),
    Language(
        ("kotlin", "scala", "swift", "dart", "solidity"), (".kt", ".kts", ".scala", ".swift", ".dart", ".sol"),
        "braces", ("//",), _C_COMMENTS, quotes='"', long_strings=(('"""', '"""'),), characters=(_QUOTED_CHARACTER,),
        middle_words=_C_WORDS,
    ),
    Language(
        ("php", "hack"), (".php",), "braces", ("//", "#"), _C_COMMENTS, middle_words=_C_WORDS | {"elseif"},
    ),
    Language(
        ("ruby", "crystal"), (".rb", ".rake", ".cr"), "words", ("#",), (("=begin", "=end"),),
        middle_words=_words("else elsif when in rescue ensure"), end_words=_words("end"),
    ),
    Language(
        ("elixir",), (".ex", ".exs"), "words", ("#",), long_strings=(('"""', '"""'),),
        middle_words=_words("else rescue after catch"), end_words=_words("end"),
    ),
    Language(
        ("lua",), (".lua",), "words", ("--",), (("--[[", "]]"),), long_strings=(("[[", "]]"), ("[==[", "]==]")),
        middle_words=_words("else elseif"), end_words=_words("end until"),
    ),
    Language(
        ("julia",), (".jl",), "words", ("#",), (("#=", "=#"),), quotes='"', long_strings=(('"""', '"""'),),
        characters=(_QUOTED_CHARACTER,), middle_words=_words("else elseif catch finally"), end_words=_words("end"),
    ),
    Language(
        ("shellscript", "bash", "sh", "zsh", "fish"), (".sh", ".bash", ".zsh", ".fish"), "words", ("#",),
        quotes="", long_strings=(('"', '"'), ("'", "'")), characters=(r"\\.", _CASE_PATTERN), paired=False,
        middle_words=_words("else elif then do"), end_words=_words("fi done esac end"),
    ),
    Language(
        ("perl", "r"), (".pl", ".pm", ".r", ".R"), "braces", ("#",), characters=(r"\\.", r"\$\#", r"\$['\"]"),
        middle_words=_C_WORDS | {"elsif"},
    ),
    Language(("powershell",), (".ps1",), "braces", ("#",), (("<#", "#>"),), middle_words=_C_WORDS | {"elseif"}),
    Language(
        ("emacs-lisp", "lisp", "commonlisp", "scheme", "racket", "clojure", "fennel"),
        (".el", ".lisp", ".lsp", ".cl", ".scm", ".rkt", ".clj", ".cljs", ".fnl"), "lists", (";",), (("#|", "|#"),),
        quotes="", long_strings=(('"', '"'),), characters=(r"\?\\?[^\w\s]", r"#?\\."), top_level=("(",),
    ),
    Language(
        ("haskell", "elm", "purescript"), (".hs", ".elm", ".purs"), "indent", ("--",), (("{-", "-}"),), quotes='"',
        characters=(_QUOTED_CHARACTER,), middle_words=_words("else where of then"),
    ),
    Language(
        ("ocaml",), (".ml", ".mli"), "none", (), (("(*", "*)"),), quotes='"', characters=(_QUOTED_CHARACTER,),
    ),
    Language(
        ("fsharp",), (".fs",), "none", ("//",), (("(*", "*)"),), quotes='"', characters=(_QUOTED_CHARACTER,),
    ),
    Language(("sql", "ada", "vhdl"), (".sql", ".adb", ".vhd"), "none", ("--",), _C_COMMENTS),
    Language(
        ("css", "scss", "less"), (".css", ".scss", ".less"), "braces", (), _C_COMMENTS,
    ),
    Language(
        ("html", "xml", "svg", "handlebars", "jinja", "xsl"), (".html", ".htm", ".xml", ".svg", ".xhtml"), "tags", (),
        (("<!--", "-->"),), quotes="", paired=False,
    ),
    Language(
        ("markdown", "mdx", "quarto", "rmd"), (".md", ".mdx", ".markdown", ".qmd"), "none", (), (("<!--", "-->"),),
        quotes="", paired=False, fences=True,
    ),
    Language(
        ("plaintext", "restructuredtext", "asciidoc", "git-commit"), (".txt", ".rst", ".adoc"), "none", quotes="",
        paired=False,
    ),
    Language(("typst",), (".typ",), "none", ("//",), quotes="", paired=False),
    Language(("latex", "tex"), (".tex",), "none", ("%",), quotes="", paired=False, characters=(r"\\.",)),
    Language(
        ("erlang", "prolog", "matlab", "octave"), (".erl", ".hrl"), "none", ("%",), quotes='"', characters=(r"\$\\?.",),
    ),
    Language(("vim",), (".vim",), "none", ('" ',), paired=False),
    Language(("yaml", "dockercompose"), (".yml", ".yaml"), "indent", ("#",), paired=False),
    Language(
        ("toml", "makefile", "dockerfile", "ini", "properties", "cmake", "terraform", "nix", "just", "gitignore"),
        (".toml", ".mk", ".ini", ".cmake", ".tf", ".nix"), "none", ("#",), paired=False,
    ),
    Language(("json", "jsonc", "json5"), (".json", ".jsonc"), "braces", ("//",), _C_COMMENTS),
)  # fmt: skip

OTHER = Language(
    (), (), "none", ("//", "#"), long_strings=(('"""', '"""'), ("'''", "'''")),
    middle_words=_words("else elif elsif except finally catch"), end_words=_words("end fi done esac"),
    top_level=_PYTHONS,
)  # fmt: skip
"""For a language without a row."""

_BY_NAME = {name: row for row in TABLE for name in row.names}
_BY_SUFFIX = {suffix: row for row in TABLE for suffix in row.suffixes}


def language_of(name: str | None, path: str | None = None) -> Language:
    """The row by LSP's id, else by the file's name, else OTHER."""
    if found := _BY_NAME.get((name or "").lower()):
        return found
    tail = (path or "").replace("\\", "/").rpartition("/")[2]
    return _BY_SUFFIX.get(tail[tail.rfind(".") :] if "." in tail else "", OTHER)
