"""What a model writes, as the page shows it: in the browser itself, for that is what has to withstand it."""

from __future__ import annotations

import json
import random
import re

from tests.http.tab import Tab

MARKDOWN = """
async (cases) => {
  const version = document.querySelector('script').src.split('/')[4];
  const { MarkdownView, render } = await import(`/page/${version}/markdown.js`);
  const shown = (text) => render(document.createElement('div'), text).innerHTML;
  const grown = (text) => {
    const target = document.createElement('div');
    const view = new MarkdownView(target);
    for (let end = 1; end <= text.length; end++) view.update(text.slice(0, end));
    return target.innerHTML;
  };
  return cases.map((text) => [shown(text), text.length < 400 ? grown(text) : null]);
}
"""


def rendered(tab: Tab, *cases: str) -> list[tuple[str, str | None]]:
    """Each case as HTML: whole, and as it grew by characters."""
    return [(whole, grown) for whole, grown in tab.js(f"({MARKDOWN})({json.dumps(cases)})")]


PLAIN = [
    (
        "**bold** and *thin* and ***both***",
        "<p><strong>bold</strong> and <em>thin</em> and <em><strong>both</strong></em></p>",
    ),
    ("snake_case_name and 2*3*4 `a*b*c`", "<p>snake_case_name and 2<em>3</em>4 <code>a*b*c</code></p>"),
    ("~~gone~~ a\\*b\\* &lt;", "<p><del>gone</del> a*b* &lt;</p>"),
    ("# One\n### Three #", "<h2>One</h2><h4>Three</h4>"),
    ("- a\n- b\n  - c\n\n    d", "<ul><li>a</li><li>b<ul><li>c<p>d</p></li></ul></li></ul>"),
    ("3. x\n4. y", '<ol start="3"><li>x</li><li>y</li></ol>'),
    ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
    ("a\nb  \nc", "<p>a\nb  <br>c</p>"),
    ("---", "<hr>"),
    ("a<br>b<b>c", "<p>a<br>b&lt;b&gt;c</p>"),
]


def test_markdown_is_what_it_says(tab: Tab) -> None:
    for (source, html), (whole, grown) in zip(PLAIN, rendered(tab, *(source for source, _ in PLAIN)), strict=True):
        assert whole == html, source
        assert grown == html, source


BAD_LINKS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "&#106;avascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "blob:http://x/y",
    "//evil.example/x",
    "/ui/api/state",
    "\u0001javascript:alert(1)",
    "\u200bjavascript:alert(1)",
    "https:\\\\javascript:alert(1)",
    "view-source:http://x",
]


def test_links_lead_to_the_web_or_nowhere(tab: Tab) -> None:
    cases = (
        [f"[x]({link})" for link in BAD_LINKS]
        + [f"![x]({link})" for link in BAD_LINKS]
        + [f"<{link}>" for link in BAD_LINKS if "http:" not in link]
    )
    for source, (whole, _) in zip(cases, rendered(tab, *cases), strict=True):
        assert "href" not in whole and "src" not in whole, source
    good = [
        "[x](https://a.example/b?c=d)",
        "https://a.example/(x).",
        "<mailto:a@b.example>",
        "![alt](http://a.example/i.png)",
    ]
    for source, (whole, _) in zip(good, rendered(tab, *good), strict=True):
        assert whole.count("<a href=") == 1 and 'rel="noopener noreferrer nofollow"' in whole, source
        assert "<img" not in whole


ALLOWED = {
    "p",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "code",
    "figure",
    "figcaption",
    "button",
    "svg",
    "path",
    "span",
    "em",
    "strong",
    "del",
    "a",
    "br",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "div",
}
PIECES = [
    "*",
    "**",
    "_",
    "`",
    "```",
    "~~",
    "[",
    "](",
    ")",
    "!",
    "<",
    ">",
    "&amp;",
    "\n",
    "\n\n",
    "# ",
    "- ",
    "1. ",
    "  ",
    "    ",
    "| a |",
    "|-|",
    "\n|---|---|\n",
    "> ",
    "word",
    " ",
    "\\",
    "$",
    "\\(",
    "https://a.example/",
    "javascript:",
    "<img src=x onerror=alert(1)>",
    "\t",
    "é",
    "\U0001f600",
    "\n```py\n",
]


def test_any_text_is_harmless_and_grows_to_what_it_is_at_once(tab: Tab) -> None:
    dice = random.Random(20)
    cases = ["".join(dice.choices(PIECES, k=dice.randint(3, 28))) for _ in range(400)]
    for source, (whole, grown) in zip(cases, rendered(tab, *cases), strict=True):
        names = {tag.lstrip("/") for tag in _tags(whole)}
        assert names <= ALLOWED, source
        assert grown is None or grown == whole, source
    tab.faultless()


def _tags(html: str) -> list[str]:
    return re.findall(r"<(/?[a-z0-9]+)", html)


HUGE = [
    "[" * 50_000,
    "*a " * 30_000,
    "_a_" * 20_000,
    "`" * 50_001 + "a",
    "``".join(["`"] * 5_000),
    "> " * 20_000,
    "- " * 20_000,
    "![" * 30_000,
    "<" * 50_000,
    "|" * 20_000 + "\n|-|",
    "* " * 9 + "a\n" + "  - b\n" * 5_000,
    "[x](" * 20_000,
    "**a" * 20_000,
    "1. a\n" * 5_000,
    "$" * 30_000,
    "https://" * 20_000,
    "\\(" * 30_000,
]


def test_hostile_texts_take_no_more_time_than_long_ones(tab: Tab) -> None:
    """Each would take minutes where the work grows with the square of the length; the test's own limit would end it."""
    for source, (whole, _) in zip(HUGE, rendered(tab, *HUGE), strict=True):
        assert whole, source[:20]
