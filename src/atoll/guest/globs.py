"""Globs to regular expressions, with the syntax of Deno's `globToRegExp`."""

from __future__ import annotations

import re

_EXTENDED = {"?": "?", "*": "*", "+": "+", "@": ""}
_SPECIAL = re.compile(r"[*?\[{\\]|[!+@]\(")


def is_glob(segment: str) -> bool:
    """Whether a path segment has a wildcard."""
    return _SPECIAL.search(segment) is not None


def glob_to_regex(glob: str, *, extended: bool, globstar: bool, ignore_case: bool) -> re.Pattern[str]:
    """A pattern that matches a whole path. OSError EINVAL when the glob cannot be read."""
    parts = glob.split("/")
    pieces: list[str] = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if globstar and part == "**":
            pieces.append("(?:[^/]*(?:/+|$))*")
        else:
            pieces.append(_Segment(part, extended).translate() + ("" if last else "/+"))
    try:
        return re.compile("".join(pieces) + r"/*\Z", re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise OSError(22, f"the glob {glob!r} cannot be used: {error}") from None


# Up to the closing bracket, which neither comes first nor ends a POSIX class's name.
_CLASS = re.compile(r"([!^]?(?:\[:\w+:\]|.)(?:\[:\w+:\]|[^\]])*)\]")


class _Segment:
    """Translates one segment, which has no slash."""

    def __init__(self, text: str, extended: bool) -> None:
        self._text = text
        self._extended = extended
        self._at = 0

    def translate(self) -> str:
        return "".join(self._pieces(""))

    def _pieces(self, closing: str) -> list[str]:
        """Pieces up to one of the characters of `closing`, which is left in place."""
        out: list[str] = []
        while self._at < len(self._text) and self._text[self._at] not in closing:
            out.append(self._piece())
        return out

    def _piece(self) -> str:
        char = self._text[self._at]
        if self._extended and char in "?*+@!" and self._text[self._at + 1 : self._at + 2] == "(":
            return self._group(char)
        self._at += 1
        if char == "\\" and self._at < len(self._text):
            self._at += 1
            return re.escape(self._text[self._at - 1])
        if char == "*":
            return "[^/]*"
        if char == "?":
            return "[^/]"
        if char == "[":
            return self._class()
        if char == "{":
            return self._alternatives("}", ",", "(?:", ")")
        return re.escape(char)

    def _group(self, kind: str) -> str:
        self._at += 2
        if kind == "!":
            return self._alternatives(")", "|", "(?!(?:", "))[^/]*")
        return self._alternatives(")", "|", "(?:", ")" + _EXTENDED[kind])

    def _alternatives(self, close: str, separator: str, before: str, after: str) -> str:
        options: list[str] = []
        while True:
            options.append("".join(self._pieces(close + separator)))
            if self._at >= len(self._text):
                raise OSError(22, f"the glob segment {self._text!r} is not closed")
            self._at += 1
            if self._text[self._at - 1] == close:
                return before + "|".join(options) + after

    def _class(self) -> str:
        match = _CLASS.match(self._text, self._at)
        if match is None:
            return r"\["
        body = match[1]
        self._at = match.end()
        negated = body[:1] in ("!", "^")
        body = body[1:] if negated else body
        body = body.replace("\\", "\\\\").replace("[", "\\[")
        for name, chars in _POSIX.items():
            body = body.replace(f"\\[:{name}:]", chars)
        return f"[{'^' if negated else ''}{body}]"


_POSIX = {"alnum": "A-Za-z0-9", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "space": r"\s"}
