"""What a key costs the language server in a minified file: one line of 1 MB, with one emoji in it, or CRLF lines.

    python tests/bench/lsp_minified.py

Milliseconds from a change to the answer of the next request, median of 20 keys at the line's end, by the client's
encoding. The model is a stand-in that answers at once: only our own work is measured.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.lsp.editor import INLINE, Editor
from tests.lsp.standin import Standin
from threadrunner.lsp.suggest.documents import UTF8, UTF16, UTF32, to_units

CODE = "function a(b){return b.map(c=>c+1).filter(d=>!!d)};"
SIZE = 1_000_000
KEYS = 20


def main() -> None:
    standin = Standin()
    plain = CODE * (SIZE // len(CODE))
    texts = {"ASCII": plain, "one emoji": "/*😀*/" + plain, "a word": "a1" * (SIZE // 2), "CRLF": plain + "\r\n" * 2}
    for encoding in (UTF8, UTF16, UTF32):
        capabilities = {**INLINE, "general": {"positionEncodings": [encoding]}}
        editor = Editor(standin.env, capabilities, initializationOptions={"debounceMs": 0, "speculate": False})
        for name, text in texts.items():
            uri = f"file:///work/{name}.js"
            editor.open(text, uri, "javascript")
            column, took = to_units(text.rstrip("\r\n"), SIZE * 2, encoding), []
            for _ in range(KEYS):
                began = time.perf_counter()
                editor.change("x", 0, column, uri=uri)
                column += 1
                editor.inline(0, column, uri=uri)
                took.append((time.perf_counter() - began) * 1e3)
            print(f"{encoding:7} {name:10} {median(took):7.1f} ms a key, at most {max(took):.1f}")
        editor.close()
    standin.close()


if __name__ == "__main__":
    main()
