"""A page as a browser reads it: elements, their text, whether all is closed."""

import html.parser

VOID = {"meta"}


class Reader(html.parser.HTMLParser):
    """Elements, their text, and whether every one of them is closed where it was opened."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def text(self, tag=None):
        return "".join(data for name, data in self.texts if tag in (None, name))


ELEMENTS = (
    "html head meta title style body header main section nav footer div p span b bdi code pre h1 h2 h3 h4 ul li a table"
    " thead tbody tfoot tr th td details summary article figure figcaption svg g line rect circle text polyline"
)
OURS = set(ELEMENTS.split())
