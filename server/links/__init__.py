"""The pages that links in messages lead to: `/verify` and `/reset`.

They need no build and no account. The token is behind the `#`, so that it is in no log; the page's
script sends it when somebody presses the button, and not before: programs that look at mail follow
links too.
"""

from pathlib import Path

from starlette.responses import Response
from starlette.routing import Route

_HERE = Path(__file__).parent
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="stylesheet" href="/links/links.css">
<script src="/links/links.js" defer></script>
</head>
<body>
<main>
<h1>{title}</h1>
<form data-call="/api/auth/{purpose}" data-done="{done}">
{fields}
<button>{button}</button>
</form>
<p role="status"></p>
<p><a href="/">To the app</a></p>
<noscript><p>This page needs JavaScript.</p></noscript>
</main>
</body>
</html>
"""
_VERIFY = _PAGE.format(
    title="Confirm your e-mail address",
    purpose="verify",
    done="Thank you: the address is confirmed.",
    fields="",
    button="Confirm",
)
_RESET = _PAGE.format(
    title="Set a new password",
    purpose="reset",
    done="The password is set, and everybody is signed out. Sign in with it.",
    fields="""\
<label>New password
<input type="password" name="password" autocomplete="new-password" required minlength="8"
aria-describedby="rule"></label>
<p id="rule">At least 8 characters: a small and a capital letter, a digit, and one of
@$!%*?&amp;</p>\
""",
    button="Set the password",
)


def routes() -> list[Route]:
    """Both pages, their script and their style."""
    return [
        _route("/verify", _VERIFY, "text/html"),
        _route("/reset", _RESET, "text/html"),
        _route("/links/links.js", _asset("links.js"), "text/javascript"),
        _route("/links/links.css", _asset("links.css"), "text/css"),
    ]


def _route(path: str, text: str, media_type: str) -> Route:
    # A response is an ASGI application, and the same for everybody.
    return Route(path, Response(text, media_type=media_type, headers=_HEADERS), methods=["GET"])


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
