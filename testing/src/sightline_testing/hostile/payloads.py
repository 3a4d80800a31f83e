"""Texts that act as markup, formulas or line breaks where they are not escaped, and readers that would run them."""

from __future__ import annotations

from html.parser import HTMLParser

# Each would make an element of this name, an attribute that runs, or a script, wherever it stands unescaped.
MARK = "xss7f"
MARKUP = (
    f"<{MARK}>",
    f"<script>{MARK}()</script>",
    f"<img src=x onerror={MARK}()>",
    f"<svg/onload={MARK}()>",
    f'"><{MARK}>',
    f"'><{MARK}>",
    f'" onmouseover="{MARK}()',
    f"' onfocus='{MARK}()' autofocus='",
    f"` onclick={MARK}() x=`",
    f"</textarea><{MARK}>",
    f"</title><{MARK}>",
    f"</script><script>{MARK}()</script>",
    f"<!--><{MARK}>",
    f"<math><mi><{MARK}>",
    f"javascript:{MARK}()",
    f"data:text/html,<{MARK}>",
    f"<iframe srcdoc='<{MARK}>'>",
    f"<a href=javascript:{MARK}()>x</a>",
    f"<{MARK}\x00>",
    f"\u003c{MARK}\u003e",
    f"\ufeff<{MARK}>",
    f"%3C{MARK}%3E",
    f"&lt;{MARK}&gt;",
    f"&#60;{MARK}&#62;",
    f"<<{MARK}//",
    f"<{MARK.upper()}>",
    f"\u2028<{MARK}>",
    "{{7*7}}" + MARK,
    "{% print(7) %}" + MARK,
    "${7*7}" + MARK,
    "#{7*7}" + MARK,
    f"<style>@import'{MARK}'</style>",
    f"<base href=//{MARK}/>",
    f"<meta http-equiv=refresh content=0;url=//{MARK}>",
    f"<form action=//{MARK}><input name=x>",
    f"<link rel=stylesheet href=//{MARK}>",
)
FORMULAS = (
    "=1+1",
    '=cmd|"/C calc"!A0',
    '=HYPERLINK("http://evil.example","x")',
    "=IMPORTXML(CONCAT(A1),1)",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\0=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20A1",
    "'=1+1",
    '"=1+1"',
    " =1+1",
    ';=1+1"',
    ",=1+1",
)
LINE_BREAKS = tuple(
    f"before{mark}after"
    for mark in ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
)
FORGERIES = (
    'x"\n"forged","2026-01-01","a.jpg","","cat","1"',
    '","","","","","","","","","=1+1',
    "x\r\nforged line",
    '"' * 99,
    "\\",
    "\\\n",
    "\0",
    "\ud800",
    "a" * 3000,
)
# Which beginnings a spreadsheet takes for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Page(HTMLParser):
    """Parse a page as a browser does and collect active content."""

    LOADING = frozenset({"src", "href", "action", "formaction", "data", "srcdoc", "content", "poster"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.alive: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Look at an element."""
        self._inside = tag
        if MARK in tag:
            self.alive.append(f"<{tag}>")
        for name, value in attributes:
            runs = name.startswith("on") or name == "style"
            loads = name in self.LOADING and _leads_away(value or "")
            if runs or loads or MARK in name:
                self.alive.append(f"<{tag} {name}={value!r}>")

    def handle_data(self, data: str) -> None:
        """Look at text, which runs in two elements only."""
        if self._inside in {"script", "style"} and data.strip():
            self.alive.append(f"<{self._inside}> {data[:80]}")

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        self._inside = ""


def _leads_away(address: str) -> bool:
    """Whether an address runs code, or is on another host."""
    scheme = address.strip().lower().partition(":")[0]
    return scheme in {"javascript", "data", "vbscript"} or address.strip().startswith("//") or MARK in address.lower()
