"""JavaScript's regular expressions as Python's, as far as the two agree."""

from __future__ import annotations

import re

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
# g and y only say where a search goes on; u, v and d change nothing for what Python matches on text.
_IGNORED = frozenset("gyuvd")


def from_javascript(source: str, flags: str) -> re.Pattern[str]:
    """The pattern for a `RegExp`'s source and flags. OSError EINVAL when Python has no equal for it."""
    options = 0
    for flag in flags:
        if flag not in _FLAGS and flag not in _IGNORED:
            raise OSError(22, f"the regular expression's flag {flag!r} is unknown")
        options |= _FLAGS.get(flag, 0)
    text = re.sub(r"\(\?<(?![=!])", "(?P<", source)
    text = re.sub(r"\\k<(\w+)>", r"(?P=\1)", text)
    text = text.replace("[^]", r"[\s\S]").replace(r"\/", "/")
    try:
        return re.compile(text, options)
    except re.error as error:
        raise OSError(22, f"the regular expression {source!r} cannot be used here: {error}") from None
