"""How a clip's file is named, what it says of itself, and which words stand for letters that a font lacks. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

DEFAULT_NAME = "{date}-{words}-{length}-{model}-{id}"
_FIELDS = re.compile(r"\{(date|words|length|gateway|model|id)\}")
_LITERAL = re.compile(r"[A-Za-z0-9 ._-]{0,30}")
OBJECT = "object:"
"""Begins the path of a clip that is an object in a team's storage, and no file."""
MOST_WORDS, WORDS_BYTES, PROMPT_LOOKED_AT = 6, 48, 400


@dataclass(frozen=True, slots=True)
class ClipLabel:
    """What a clip's file says of itself. `date` is a day, `template` the person's; `tags`: also in its metadata."""

    task_id: str
    gateway: str
    model: str
    prompt: str
    seconds: int | None
    price: str
    date: str
    template: str = DEFAULT_NAME
    tags: bool = True

    @property
    def short_id(self) -> str:
        """The task's id in lower-case letters, digits and dashes, different for each."""
        short = self.task_id.removeprefix("task_")
        if re.fullmatch(r"[a-z0-9-]{1,32}", short):
            return short
        # Folding to the safe alphabet can make two ids equal; the digest keeps them apart.
        return f"{_slug(short, 12)}-{hashlib.sha256(short.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"

    @property
    def details(self) -> str:
        """Model, price, date and length in one line."""
        length = f"{self.seconds} s" if self.seconds else ""
        return " · ".join(part for part in (f"{self.gateway}/{self.model}", length, self.price, self.date) if part)

    @property
    def file_name(self) -> str:
        """A name of at most 200 bytes, without separators of paths, that begins with neither dot nor dash."""
        values = {
            "date": self.date,
            "words": name_words(self.prompt),
            "length": f"{self.seconds}s" if self.seconds else "",
            "gateway": _slug(self.gateway, 20),
            "model": _slug(self.model, 40),
            "id": self.short_id,
        }
        name = _FIELDS.sub(lambda field: values[field[1]], self.template)
        # What is not known leaves no gap.
        return re.sub(r"([ ._-])[ ._-]+", r"\1", name).strip(" ._-") + ".mp4"


@dataclass(frozen=True, slots=True)
class ClipLinks:
    """Links to a saved clip that work for minutes and for everybody who has them: not stored, logged or shown."""

    video: str = field(repr=False)
    poster: str = field(repr=False)
    contact_sheet: str = field(repr=False)


def is_name_template(text: str) -> bool:
    """Whether a template names clips apart and safely: `{id}` in it, each field at most once, few plain characters."""
    used = Counter(_FIELDS.findall(text))
    return used["id"] == 1 and max(used.values()) == 1 and _LITERAL.fullmatch(_FIELDS.sub("", text)) is not None


def name_words(prompt: str) -> str:
    """The first words of a prompt for a file's name: letters, digits and accents of any script, normalised, bounded."""
    text = unicodedata.normalize("NFKC", prompt[:PROMPT_LOOKED_AT]).lower()
    kept = "".join(letter if unicodedata.category(letter)[0] in "LNM" else " " for letter in text)
    words = unicodedata.normalize("NFC", "-".join(kept.split()[:MOST_WORDS])).encode()[:WORDS_BYTES]
    return words.decode(errors="ignore").strip("-") or "clip"


def _slug(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-") or "x"


def tell_undrawn(text: str, can_draw: Callable[[str], bool]) -> str:
    """The text with what cannot be drawn told in words: `[4 CJK and Hiragana letters]`, `[slightly smiling face]`."""
    mask = "".join(" " if letter == " " else "." if can_draw(letter) else "x" for letter in text)
    told, reached = [], 0
    for run in re.finditer("x(?:[x ]*x)?", mask):
        told += [text[reached : run.start()], _in_words(text[run.start() : run.end()])]
        reached = run.end()
    return "".join([*told, text[reached:]])


def _in_words(run: str) -> str:
    letters = [letter for letter in run if unicodedata.category(letter)[0] in "LN"]
    scripts = dict.fromkeys(unicodedata.name(letter, "unknown").split()[0] for letter in letters)
    names = " and ".join(name if name == "CJK" else name.capitalize() for name in scripts)
    told = [f"{len(letters)} {names} {'letter' if len(letters) == 1 else 'letters'}"] if letters else []
    signs = [sign for sign in run if unicodedata.category(sign)[0] in ("S" if letters else "SP")]
    told += dict.fromkeys(unicodedata.name(sign, "sign").lower() for sign in signs)
    return f"[{', '.join(told)}]" if told else ""
