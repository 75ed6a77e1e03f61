"""The readable reference as one HTML page."""

import re
from html import escape

from protocol.schema import TITLE, VERSION
from protocol.schema.blocks import Block, Code, Paragraph, Section, Table
from protocol.schema.handbook import handbook

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="description" content="{title}: the reference of its socket and its REST calls.">
<title>{title} reference</title>
<link rel="icon" href="data:image/svg+xml,{icon}">
<link rel="stylesheet" href="/docs/reference.css">
<script src="/docs/reference.js" defer></script>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="bar">
<a class="brand" href="#overview">{logo}<span>{title}</span><small>Reference</small></a>
<label class="search"><span class="hidden">Search the reference</span>
<input type="search" placeholder="Search" autocomplete="off" spellcheck="false"
aria-describedby="found"><kbd aria-hidden="true">/</kbd></label>
<p class="documents"><a href="/docs/asyncapi.json">AsyncAPI</a>
<a href="/docs/openapi.json">OpenAPI</a></p>
<button class="menu" type="button" aria-expanded="false" aria-controls="contents">Contents</button>
</header>
<nav id="contents" aria-label="Contents">
{contents}
</nav>
<main id="content" tabindex="-1">
<p id="found" class="found" role="status"></p>
{chapters}
<footer>{title}, protocol version {version}. Bytes are shown in base64; on the wire they are
MessagePack's bin type.</footer>
</main>
</body>
</html>
"""
_LOGO = (
    "<svg viewBox='0 0 32 32' aria-hidden='true' xmlns='http://www.w3.org/2000/svg'>"
    "<rect width='32' height='32' rx='9' fill='{colour}'/>"
    "<path d='M8 22.5V12.6a4 4 0 0 1 8 0v9.9m0-9.9a4 4 0 0 1 8 0v9.9' fill='none'"
    " stroke='white' stroke-width='2.6' stroke-linecap='round'/></svg>"
)
_COLOUR = "#1f6b52"  # the mark and the colour of the console
_TOKEN = re.compile(
    r"""(?P<key>"[^"\n]*"(?=:))"""
    r"""|(?P<string>"[^"\n]*")"""
    r"""|(?P<comment>(?<!\S)(?://|\#).*)"""
    r"""|(?P<keyword>\b(?:import|from|const|new|await|async|with|as|true|false|null)\b)"""
    r"""|(?P<number>(?<![\w.:/])\d+(?:\.\d+)?(?![\w.:]))"""
)
_LANGUAGES = {"shell": "Shell", "typescript": "TypeScript", "python": "Python", "json": "JSON"}
_METHOD = re.compile(r"(GET|POST) (.+)")


def page() -> str:
    """The whole page. Its script and style are files beside it, under `/docs`."""
    chapters = handbook()
    icon = _LOGO.format(colour=_COLOUR.replace("#", "%23"))
    return _PAGE.format(
        title=escape(TITLE),
        version=escape(VERSION),
        icon=escape(icon),
        logo=_LOGO.format(colour=_COLOUR),
        contents="\n".join(map(_contents, chapters)),
        chapters="\n".join(map(_chapter, chapters)),
    )


def _contents(chapter: Section) -> str:
    items = "".join(f"<li>{_reference(section)}</li>" for section in chapter.sections)
    below = f"<ul>{items}</ul>" if items else ""
    return f"<section><h2>{_reference(chapter)}</h2>{below}</section>"


def _reference(section: Section) -> str:
    kind = ' class="name"' if section.is_name else ""
    return f'<a{kind} href="#{section.anchor}">{_title(section)}</a>'


def _title(section: Section) -> str:
    """The title; a REST call's method is set apart from its path."""
    call = _METHOD.fullmatch(section.title)
    if call is None:
        # A name may break after its dot, where it does not fit a narrow column.
        return escape(section.title).replace(".", ".<wbr>")
    return f'<span class="method {call[1].lower()}">{call[1]}</span> {escape(call[2])}'


def _chapter(chapter: Section) -> str:
    return (
        f'<section class="chapter" aria-labelledby="{chapter.anchor}">'
        f"{_heading(chapter, 1)}{_blocks(chapter)}"
        f"{''.join(map(_section, chapter.sections))}</section>"
    )


def _section(section: Section) -> str:
    return (
        f'<section class="entry" aria-labelledby="{section.anchor}">'
        f"{_heading(section, 2)}{_blocks(section)}</section>"
    )


def _heading(section: Section, level: int) -> str:
    kind = ' class="name"' if section.is_name else ""
    return (
        f'<h{level}{kind} id="{section.anchor}"><a href="#{section.anchor}">'
        f"{_title(section)}</a></h{level}>"
    )


def _blocks(section: Section) -> str:
    """The text; the examples of what has a name stand beside it where there is room."""
    examples = [block for block in section.blocks if isinstance(block, Code)]
    text = [block for block in section.blocks if not isinstance(block, Code)]
    if not text and not examples:
        return ""
    beside = f'<div class="examples">{"".join(map(_block, examples))}</div>' if examples else ""
    kind = "plain" if not examples else "beside" if section.is_name else "below"
    return f'<div class="{kind}"><div class="text">{"".join(map(_block, text))}</div>{beside}</div>'


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return f"<p>{_inline(block.text)}</p>"
        case Code():
            caption = block.caption or _LANGUAGES[block.language]
            return (
                f"<figure><figcaption>{escape(caption)}</figcaption>"
                f'<pre tabindex="0"><code>{_highlight(block.text)}</code></pre></figure>'
            )
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{_cells(table.columns, row)}</tr>" for row in table.rows)
    note = f"<span>{_inline(table.note)}</span>" if table.note else ""
    caption = f"<caption>{escape(table.caption)}{note}</caption>" if table.caption else ""
    kind = "fields" if table.columns[0] == "Field" else "rows"
    return (
        f'<table class="{kind}">{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _cells(columns: tuple[str, ...], row: tuple[str, ...]) -> str:
    return "".join(
        f'<td data-column="{escape(column)}">{_inline(cell)}</td>'
        for column, cell in zip(columns, row, strict=True)
    )


def _inline(text: str) -> str:
    """Text with its two marks made: `code` in backticks, and links."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\[([^\]]+)\]\((#[^)]+)\)", r'<a href="\2">\1</a>', marked)


def _highlight(text: str) -> str:
    parts: list[str] = []
    end = 0
    for token in _TOKEN.finditer(text):
        parts += (
            escape(text[end : token.start()], quote=False),
            f'<span class="{token.lastgroup}">{escape(token[0], quote=False)}</span>',
        )
        end = token.end()
    return "".join(parts) + escape(text[end:], quote=False)
