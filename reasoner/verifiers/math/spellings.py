"""Ways to write a value that are read as another way of the same: recurring decimals, intervals, bases, minutes."""

import re

_DOTS = re.compile(r"(?<![\d.])(\d*\.\d*?)((\d)\3{2,}|(\d{2,9})\4+)\s?(?:\\[lc]?dots(?![A-Za-z])|\.{3}|…)")
_DOTTED = re.compile(r"(\d*\.\d*)\\dot\s?\{(\d)\}(?:(\d*)\\dot\s?\{(\d)\})?")
_EUROPEAN = re.compile(r"([\[\]])([^\[\](){}<>=]{1,40}[,;][^\[\](){}<>=]{1,40})([\[\]])")
_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "sixteen": 16,
}  # fmt: skip
_BASE_WORD = re.compile(rf"_\s?\{{?\s?\\text\s?\{{\s?({'|'.join(_BASES)})\s?\}}\s?\}}?")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{1,20}_\s?(?:\{16\}|16)")
_MINUTES = re.compile(
    r"(\d{1,3})\s?(?:°|\^\s?\\circ|\^\s?\{\s?\\circ\s?\})\s?(\d{1,2})\s?(?:'|′|\^\s?\\prime|\^\s?\{\\prime\})(?!')"
)
_EULER = re.compile(r"(?<![A-Za-z\d\\.])e(?![A-Za-z])")
_SAYING = re.compile(r"\\text\s?\{\s?(?:so |thus |hence )?the (?:final )?answer is:?\s*\}\s*", re.IGNORECASE)


def recurring(text: str) -> str:
    r"""Returns the text with a bar over what recurs in decimals that end in dots: `0.1666...` is not 0.1666.

    >>> recurring("0.1666\\ldots"), recurring("0.1212..."), recurring("3.14...")
    ('0.1\\overline{6}', '0.\\overline{12}', '3.14...')
    """
    return _DOTS.sub(lambda found: f"{found[1]}\\overline{{{found[3] or found[4]}}}", text)


def respelled(text: str) -> str:
    r"""Returns the text with such spellings in the one that the reader knows.

    >>> respelled("0.\\dot{1}4\\dot{2}"), respelled("]2,5]"), respelled("1011_{\\text{two}}")
    ('0.\\overline{142}', '(2,5]', '1011_{2}')
    """
    text = _SAYING.sub("", text, count=1) if text.startswith("\\text") else text
    text = _DOTTED.sub(lambda found: f"{found[1]}\\overline{{{found[2]}{found[3] or ''}{found[4] or ''}}}", text)
    if _EULER.search(text):  # 2e-3 beside an e is no computer notation
        text = re.sub(r"(?<=\d)e(?=[-+]\d)", " e", text)
    text = _BASE_WORD.sub(lambda found: f"_{{{_BASES[found[1]]}}}", text)
    text = _MINUTES.sub(lambda found: f"({found[1]}+\\frac{{{found[2]}}}{{60}})^\\circ", text)
    if _HEXADECIMAL.fullmatch(text):
        return text.upper()
    if (found := _EUROPEAN.fullmatch(text)) and found[1] + found[3] != "[]":
        return f"{'[' if found[1] == '[' else '('}{found[2]}{']' if found[3] == ']' else ')'}"
    return text
