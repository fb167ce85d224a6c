"""Free texts, made anew: the words that many rows share stay, all else becomes other letters and digits of the same form.

A text is a row of tokens: words, numbers, mixtures of both, and the signs between them, which stay. Of each place in each of the
most frequent forms, tokens that enough rows share are drawn as often as they occur; others are made. A cell is a pure function
of (seed, row number), and no text of the column.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Self

import pyarrow as pa

from tabdar_pipeline.codec.chance import Chance
from tabdar_pipeline.codec.sieve import Sieve

SHARED = 5  # rows that must share a token before it may come back
LEARNED = 50_000  # texts from which forms and tokens are learned
_FORMS, _TOKENS, _MADE = (
    64,
    100,
    16,
)  # of a column; of a place in a form, shared and made anew: the most frequent ones
_PLACES = 24  # in a form that have tokens of their own; those after them have theirs together
_TRIES = 16  # to make a text that the column lacks, of tokens that are shared; then as many of none
_RUN = re.compile(r"[^\W_]+")
_PART = re.compile(r"\d+|[^\W\d_]+")
_WORD, _NUMBER, _MIXTURE = "word", "number", "mixture"
_ALPHABETS = ("01", "0123456789abcdef", "0123456789ABCDEF")


@dataclass(frozen=True, slots=True)
class Made:
    """What stands where a token is not shared: so many letters or digits."""

    kind: str
    shape: str  # of a word: "Aaa"; else as many characters
    low: int = 0  # of a number
    high: int = 0
    alphabet: str = ""  # of a mixture

    def draw(self, chance: Chance) -> str:
        """One of them."""
        if self.kind == _NUMBER:
            return str(self.low + chance.below(self.high - self.low + 1)).zfill(len(self.shape))
        if self.kind == _MIXTURE:
            return "".join(self.alphabet[chance.below(len(self.alphabet))] for _ in self.shape)
        return "".join(chr(ord("A" if c == "A" else "a") + chance.below(26)) for c in self.shape)


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at one place of a form: tokens that stay, then those that are made."""

    tokens: tuple[str, ...]
    made: tuple[Made, ...]  # one at least
    ends: tuple[int, ...]  # the running sum of how many texts have each

    @classmethod
    def of(cls, kind: str, tokens: Sequence[str], shared: int) -> Self:
        """Learn the tokens that occur at a place."""
        least = shared if kind == _WORD else max(shared, SHARED)
        common = [(t, n) for t, n in Counter(tokens).most_common(_TOKENS) if n >= least]
        kept = {t for t, _ in common}
        others = [t for t in tokens if t not in kept]
        made = _made(kind, others or tokens, shared)
        ends = tuple(accumulate(n for _, n in [*common, *(made if others else ())]))
        return cls(tuple(t for t, _ in common), tuple(m for m, _ in made), ends)

    def draw(self, chance: Chance, *, anew: bool) -> str:
        """One of them, as often as it occurs; or one that is made."""
        if anew:
            return self.made[chance.below(len(self.made))].draw(chance)
        i = chance.weighted(self.ends)
        return self.tokens[i] if i < len(self.tokens) else self.made[i - len(self.tokens)].draw(chance)


@dataclass(frozen=True, slots=True)
class Form:
    """Signs, and places between them."""

    signs: tuple[str, ...]  # one more than places
    places: tuple[int, ...]  # of the column's places


@dataclass(frozen=True, slots=True)
class TextCodec:
    """How the cells of a text column are made."""

    forms: tuple[Form, ...]
    ends: tuple[int, ...]  # the running sum of how many texts have each form
    places: tuple[Place, ...]
    sieve: Sieve
    nulls: float  # share of missing cells
    is_json: bool = False
    anew: bool = True  # whether words may be made where all that are shared give a real text

    @classmethod
    def fit(cls, column: pa.Array, shared: int = SHARED) -> Self:
        """Learn forms and tokens that `shared` rows have; no text is kept.

        Where one row is enough, words belong to the type (an INTERVAL's "days"), and none is made.
        """
        texts = column.drop_null().cast(pa.string()).to_pylist()
        step = max(len(texts) // LEARNED, 1)
        parsed = [_parsed(text) for text in texts[::step]]
        common = Counter((signs, kinds) for signs, kinds, _ in parsed).most_common(_FORMS)
        groups = _grouped(parsed, [form for form, _ in common])
        numbered = {key: i for i, key in enumerate(groups)}
        forms = tuple(
            Form(signs, tuple(numbered[_key(f, i, kinds)] for i in range(len(kinds))))
            for f, ((signs, kinds), _) in enumerate(common)
        )
        ends = tuple(accumulate(n for _, n in common))
        places = tuple(Place.of(kind, tokens, shared) for (_, _, kind), tokens in groups.items())
        nulls = column.null_count / max(len(column), 1)
        return cls(forms, ends, places, Sieve.of(texts), nulls, all(map(_is_json, texts)), shared > 1)

    def generate(self, start: int, rows: int, seed: int, kind: pa.DataType) -> pa.Array:
        """Cells of rows start..start+rows-1, in the column's type."""
        cells = [self._cell(Chance.of(seed, i)) for i in range(start, start + rows)]
        if pa.types.is_dictionary(kind):
            return pa.array(cells, kind.value_type).cast(kind)
        return pa.array(cells, kind)

    def _cell(self, chance: Chance) -> str | None:
        if chance.share() < self.nulls:
            return None
        last = "null"
        for attempt in range(2 * _TRIES):
            text = self._text(chance, anew=self.anew and attempt >= _TRIES)
            if self.is_json and not _is_json(text):
                continue
            if self.sieve.passes(text):
                return text
            last = text
        return last  # every text of these forms may be a real one

    def _text(self, chance: Chance, *, anew: bool) -> str:
        form = self.forms[chance.weighted(self.ends)]
        tokens = (self.places[place].draw(chance, anew=anew) for place in form.places)
        return form.signs[0] + "".join(t + s for t, s in zip(tokens, form.signs[1:], strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"codec": "text", **asdict(self), "sieve": self.sieve.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The codec that `to_json` wrote."""
        return cls(
            tuple(Form(tuple(f["signs"]), tuple(f["places"])) for f in record["forms"]),
            tuple(record["ends"]),
            tuple(
                Place(tuple(p["tokens"]), tuple(Made(**m) for m in p["made"]), tuple(p["ends"]))
                for p in record["places"]
            ),
            Sieve.from_json(record["sieve"]),
            record["nulls"],
            record["is_json"],
            record["anew"],
        )


_Key = tuple[int, int, str]  # form, place, kind of token


def _parsed(text: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Signs, kinds of tokens, tokens."""
    signs, kinds, tokens, end = list[str](), list[str](), list[str](), 0
    for run in _RUN.finditer(text):
        for kind, start, stop in _split(run):
            signs.append(text[end:start])
            kinds.append(kind)
            tokens.append(text[start:stop])
            end = stop
    return (*signs, text[end:]), tuple(kinds), tuple(tokens)


def _split(run: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """A run of letters and digits as a word, a number, one beside the other; or as a mixture."""
    parts = list(_PART.finditer(run[0]))
    if len(parts) > 2:
        yield _MIXTURE, run.start(), run.end()
        return
    for part in parts:
        kind = _NUMBER if part[0].isdecimal() else _WORD
        yield kind, run.start() + part.start(), run.start() + part.end()


def _key(form: int, place: int, kinds: Sequence[str]) -> _Key:
    return (form, place, kinds[place]) if place < _PLACES else (-1, -1, kinds[place])


def _grouped(
    parsed: Sequence[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]],
    forms: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
) -> dict[_Key, list[str]]:
    """The tokens of each place in each of these forms."""
    numbered = {form: f for f, form in enumerate(forms)}
    groups: dict[_Key, list[str]] = {}
    for signs, kinds, tokens in parsed:
        f = numbered.get((signs, kinds))
        if f is not None:
            for i, token in enumerate(tokens):
                groups.setdefault(_key(f, i, kinds), []).append(token)
    return groups


def _made(kind: str, tokens: Sequence[str], shared: int) -> list[tuple[Made, int]]:
    """Forms of tokens that are made anew, the most frequent ones, with their weights."""
    shapes = Counter(map(_shape, tokens) if kind == _WORD else ("9" * len(t) for t in tokens))
    if kind == _WORD:
        return [(Made(kind, shape), n) for shape, n in shapes.most_common(_MADE)]
    characters = set("".join(tokens))
    alphabet = next((a for a in _ALPHABETS if characters <= set(a)), "")
    if kind == _MIXTURE or (alphabet == "01" and max(map(len, tokens)) > 1):
        every = alphabet or "".join(sorted(c for c in characters if c.isascii())) or "0123456789"
        return [(Made(_MIXTURE, shape, alphabet=every), n) for shape, n in shapes.most_common(_MADE)]
    return [
        (_number(shape, sorted(int(t) for t in tokens if len(t) == len(shape)), shared), n)
        for shape, n in shapes.most_common(_MADE)
    ]


def _number(shape: str, values: Sequence[int], shared: int) -> Made:
    """A number of so many digits between the outermost that `shared` rows reach, or any of so many digits."""
    least = 10 ** (len(shape) - 1) if values[0] >= 10 ** (len(shape) - 1) and len(shape) > 1 else 0
    if shared > 1 and (len(values) <= 2 * shared or values[shared - 1] == values[-shared]):
        return Made(_NUMBER, shape, least, 10 ** len(shape) - 1)
    return Made(_NUMBER, shape, values[shared - 1], values[-shared])


def _shape(word: str) -> str:
    return "".join("A" if c.isupper() else "a" for c in word)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
