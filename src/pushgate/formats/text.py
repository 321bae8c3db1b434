"""Reads the text format 0.0.4 at two speeds, with the results and the errors of the scanner.

A *known* body differs from an earlier one only in its numbers: it is cut at the numbers, and its
shape is looked up. Any other is read by *columns*: the text around its label values, its
*structure*, says which label each value belongs to, and whole columns of labels are assembled at
once. A structure that was read before is looked up, too. Where only a few label values are new,
such as that of a run, and all metrics of a family have them, or none, no labels are read at all.

Names in quotes, unusual blanks, duplicates and all errors are left to the scanner.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from pushgate.errors import TextFormatError
from pushgate.formats.families import TYPES, Families, assemble, family_of
from pushgate.formats.relabeling import MAX_NEW, Relabeling
from pushgate.formats.scanner import Scanned, scan
from pushgate.formats.shapecache import BoundedCache, ShapeCache, key_cost, remembered
from pushgate.formats.slots import SlotMapping, slot_mapping
from pushgate.formats.structure import Run, Structure, Unusual, complete, fill
from pushgate.model.family import MetricType
from pushgate.model.keys import key_of
from pushgate.model.names import NameRule
from pushgate.model.shape import FamilyLabelSchema, Pushed, PushShape, interned, label_schema_of

# Bodies are cut in pieces, because all other threads wait while a regular expression matches.
_PIECE_BYTES = 128 << 10
# A larger body would take too much of the cache, so nothing is looked up for it.
_MAX_REMEMBERED_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
# Stands for a label value, and is no UTF-8.
_MARK = b"\xff"
# In larger bodies, no label values are blanked.
_MAX_BLANKED_BYTES = 256 << 10

# What looks like a number, and the comments and empty lines after it. It is the scanner's task, or
# that of the slots, to find out whether it is one.
_cut_at_numbers = re.compile(rb" ([-+.0-9e]++|NaN|[-+]Inf)\n((?:#.*+\n|\n)*+)").split
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
# Lines are matched without their label values: in a = "" two quotes stand for any value.
_PAIR = r'[ \t]*[a-zA-Z_][a-zA-Z0-9_]*[ \t]*=[ \t]*""[ \t]*'
_sample = re.compile(
    rf"({_NAME})[ \t]*(?:\{{((?:{_PAIR}(?:,{_PAIR})*,?)?[ \t]*)\}})?[ \t]*", re.ASCII
).fullmatch
_label_names = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII).findall
_comment = re.compile(
    rf"# (HELP|TYPE) ({_NAME})[ \t]+([^ \t\n][^\n]*)?\n"
    r"|#[ \t]*+(?!(?:HELP|TYPE)[ \t\n])[^\n]*\n|\n",
    re.ASCII,
).match
# Escape sequences become one letter each, which no ordinary body has.
_ESCAPES = (("\\\\", "\1", "\\"), ("\\n", "\2", "\n"), ('\\"', "\3", '"'))


class _Cut(NamedTuple):
    """A body cut at its numbers.

    ``comments`` has the block of comments before each sample, and one at the end; ``heads`` the
    text before each number, and what follows the last line.
    """

    comments: tuple[bytes, ...]
    heads: tuple[bytes, ...]
    values: list[bytes]

    @property
    def key(self) -> Hashable:
        """The body without its numbers."""
        return key_of(self.comments, self.heads)


def _cut(body: bytes) -> _Cut:
    if len(body) <= _PIECE_BYTES:
        return _cut_at_once(body)
    first, *more = map(_cut_at_once, _pieces(body))
    # A piece ends after a line: comments there go on in the next piece.
    comments, heads, values = [*first.comments], [*first.heads], first.values
    for piece in more:
        comments[-1] += piece.comments[0]
        comments += piece.comments[1:]
        heads[-1] += piece.heads[0]
        heads += piece.heads[1:]
        values += piece.values
    return _Cut(tuple(comments), tuple(heads), values)


def _cut_at_once(body: bytes) -> _Cut:
    # With a number in front, the comments before the first sample are found like all others.
    pieces = _cut_at_numbers(b" 0\n" + body)
    return _Cut(tuple(pieces[2::3]), tuple(pieces[3::3]), pieces[4::3])


class _Blanked(NamedTuple):
    """A body without its numbers and some label *values*."""

    key: Hashable
    values: list[str]


class _ByColumns(NamedTuple):
    """What came of a body that was read by columns; *inside* are all its label values."""

    structure: Structure
    inside: Sequence[str]
    shape: PushShape
    mapping: SlotMapping


class _Template(NamedTuple):
    """What a blanked body becomes with other values; without a relabeling, it has to be read."""

    relabeling: Relabeling | None
    mapping: SlotMapping


class TextReader:
    """Reads text bodies, and remembers their shapes."""

    def __init__(self, names: NameRule, *, cache_bytes: int = 16 << 20) -> None:
        """Start with an empty cache of shapes, which may take *cache_bytes* of memory."""
        self._names = names
        self._shapes: ShapeCache[object, SlotMapping] = ShapeCache(cache_bytes)
        self._structures: BoundedCache[object, Structure] = BoundedCache(cache_bytes // 4)
        self._templates: BoundedCache[object, _Template] = BoundedCache(cache_bytes // 4)
        self._first_values: BoundedCache[tuple[bytes, ...], list[bytes]]
        self._first_values = BoundedCache(cache_bytes // 16)
        self._begun = b"", _cut(b"")

    @property
    def cache_bytes(self) -> int:
        caches = self._shapes, self._structures, self._templates, self._first_values
        return sum(cache.bytes for cache in caches)

    def read(self, body: bytes) -> Pushed:
        """Return what *body* pushes.

        CRLF, a missing last line feed, a byte order mark, and blanks after a value are accepted,
        although the reference refuses them. Takes time in proportion to the body; for a known
        shape about a quarter of that for a new one.

        Raises:
            TextFormatError: with the reference's text, for the first error in *body*.
        """
        if len(body) > _MAX_REMEMBERED_BYTES:
            return self._read_large(normalised(body, self._names))
        # First as it is: a body with CRLF is never found, and is looked up again without.
        begun, cut = self._begun
        if begun is not body:  # else it was looked up just now
            cut = _cut(body)
            pushed = self._known(cut)
            if pushed is not None:
                return pushed
        tidy = normalised(body, self._names)
        if tidy is not body:
            body, cut = tidy, _cut(tidy)
            pushed = self._known(cut)
            if pushed is not None:
                return pushed
        return self._read_new(body, cut)

    def read_known(self, body: bytes) -> Pushed | None:
        """Return what *body* pushes if its shape is known; else :meth:`read` goes on with it."""
        cut = _cut(body)
        self._begun = body, cut
        return self._known(cut)

    def _known(self, cut: _Cut) -> Pushed | None:
        known = self._shapes.get(cut.key)
        if known is None:
            return None
        shape, mapping = known
        try:
            return Pushed(shape, mapping.numbers(cut.values))
        except ValueError:
            return None  # the scanner will say where the error is

    def _read_new(self, body: bytes, cut: _Cut) -> Pushed:
        try:
            blanked = self._blanked(cut) if len(body) <= _MAX_BLANKED_BYTES else None
            known = self._templates.get(blanked.key) if blanked else None
            if blanked and known and known.relabeling:
                shape, mapping = known.relabeling.filled(blanked.values), known.mapping
            else:
                read = self._read_by_columns(body, cut)
                shape, mapping = read.shape, read.mapping
                if blanked and not known:
                    self._learn(blanked, read, len(body))
            pushed = Pushed(shape, mapping.numbers(cut.values))
        except (Unusual, ValueError):
            return self._scanned(body, cut)
        self._remember(body, cut, shape, mapping)
        return pushed

    def _read_by_columns(self, body: bytes, cut: _Cut) -> _ByColumns:
        around, inside = _unquoted(cut.heads)
        key = key_of(cut.comments), around
        structure = self._structures.get(key)
        if structure:
            # Known structure, unknown label values: they are likely to be new each time.
            label_schema = structure.label_schema if inside else None
            shape, mapping = structure.assembled(inside, label_schema)
        else:
            structure = _structure_of(cut.comments, around)
            shape, mapping = structure.assembled(inside)
            if self._structures.wants(key):
                self._structures.put(key, structure, len(body) + structure.cost)
        return _ByColumns(structure, inside, shape, mapping)

    def _learn(self, blanked: _Blanked, read: _ByColumns, size: int) -> None:
        """Keep what *blanked* is with other values, if it came before, or that this is unusual."""
        key, values = blanked
        if not self._templates.wants(key):
            return
        relabeling, cost = None, size
        if read.structure.bounds(read.inside).isdisjoint(values):
            with suppress(Unusual):
                relabeling = Relabeling(read.shape, values)
                cost += relabeling.cost
        if not self._templates.put(key, _Template(relabeling, read.mapping), cost):
            self._templates.put(key, _Template(None, read.mapping), size)

    def _blanked(self, cut: _Cut) -> _Blanked | None:
        """Return *cut* without those label values that are new since the last one like it.

        Only the values of one sample are looked at, the first that has labels. Returns None if none
        or many are new, or if one could be mistaken for something else.
        """
        first = next((head for head in cut.heads if b'"' in head), b"")
        pieces = first.split(b'"')
        around, values = tuple(pieces[0::2]), pieces[1::2]
        before = self._first_values.get(around) or values
        self._first_values.put(around, values, key_cost(pieces, len(first)))
        new = [value for value, old in zip(values, before, strict=False) if value != old]
        if not 0 < len(new) <= MAX_NEW:
            return None
        heads = b"\n".join(cut.heads)
        if b"\\" in heads or _MARK in heads:
            return None
        for number, value in enumerate(new):
            # What may follow the quote at the end of a value could stand between two quotes, too.
            if not value or value[:1] in b", \t}" or b"\n" in value:
                return None
            heads = heads.replace(b'"%b"' % value, b'"%b%d"' % (_MARK, number))
        return _Blanked((key_of(cut.comments), heads), [value.decode() for value in new])

    def _remember(self, body: bytes, cut: _Cut, shape: PushShape, mapping: SlotMapping) -> None:
        key = cut.key
        if self._shapes.wants(key):
            self._shapes.put(key, shape, mapping, key_cost(cut.heads, len(body)))

    def _scanned(self, body: bytes, cut: _Cut) -> Pushed:
        found = scan_leniently(body, self._names)
        pushed, (_, mapping, is_complete), values = found
        # Only if it was cut exactly at the numbers of its samples may others like it be read by
        # cutting. A comment that ends in a number is no sample.
        is_cut_well = values == cut.values and not any(b"#" in head for head in cut.heads)
        if is_complete and is_cut_well and not pushed.timestamped:
            self._remember(body, cut, pushed.shape, mapping)
        return pushed

    def _read_large(self, body: bytes) -> Pushed:
        families, values = Families(), list[bytes]()
        try:
            for piece in _pieces(body):
                comments, heads, some = _cut_at_once(piece)
                around, inside = _unquoted(heads)
                runs = _runs(families, comments, around)
                fill([*families.values()], runs, inside, len(values))
                values += some
            shapes, mapping = complete(assemble(families.values(), len(values)))
            return Pushed(interned(shapes), mapping.numbers(values))
        except (Unusual, ValueError):
            return scan_leniently(body, self._names).pushed


def _pieces(body: bytes) -> Iterator[bytes]:
    """Cut *body* into pieces that end after a line."""
    at = 0
    while at < len(body):
        end = body.rfind(b"\n", at, at + _PIECE_BYTES) + 1
        end = end or body.find(b"\n", at) + 1 or len(body)
        yield body[at:end]
        at = end


def normalised(body: bytes, names: NameRule) -> bytes:
    """Return *body* without CRLF and byte order mark, ending in a line feed if not empty.

    Raises:
        TextFormatError: it consists of comments, the last without a line feed. That is not an
            empty push: ``curl -d @file`` sends it for a file that begins with a comment.
    """
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    if body.startswith(_BOM):
        body = body[3:]
    if body.endswith(b"\n") or not body:
        return body
    lines = [line.lstrip(b" \t") for line in body.split(b"\n")]
    if lines[-1].startswith(b"#") and all(line[:1] in b"#" for line in lines):
        scan(body[: body.rfind(b"\n") + 1], names)  # an error of an earlier line comes first
        raise TextFormatError(len(lines), "unexpected end of input stream")
    return body + b"\n"


def scan_leniently(body: bytes, names: NameRule) -> Scanned:
    """Scan *body*, if necessary without the blanks after its samples."""
    try:
        return scan(body, names)
    except TextFormatError:
        # Not by one regular expression, for which all other threads would wait.
        tidy = b"\n".join(
            line if line.lstrip(b" \t").startswith(b"#") else line.rstrip(b" \t")
            for line in body.split(b"\n")
        )
        if tidy == body:
            raise
        return scan(tidy, names)


# --- By columns -------------------------------------------------------------------------


def _structure_of(comments: Sequence[bytes], around: str) -> Structure:
    families = Families()
    runs = tuple(_runs(families, comments, around))
    builders, samples = families.values(), len(comments) - 1
    types = [MetricType.UNTYPED if its.type is None else its.type for its in builders]
    headers = tuple([(its.name, kind, its.help) for its, kind in zip(builders, types, strict=True)])
    counts = [0] * len(headers)
    label_names: list[set[tuple[str, ...]]] = [set() for _ in headers]
    for run in runs:
        counts[run.family] += len(run.samples)
        label_names[run.family].add(run.names)
    schemas = tuple(
        FamilyLabelSchema(*header, frozenset(names))
        for header, names in zip(headers, label_names, strict=True)
        if names
    )
    structure = Structure(headers, runs, label_schema_of(schemas), samples)
    if not all(kind.is_simple for kind in types):
        return structure
    # Slots are in the order of families; samples of one family may be apart in a body.
    order = [at for run in sorted(runs, key=attrgetter("family")) for at in run.samples]
    starts = tuple(accumulate(filter(None, counts), initial=0))
    return structure._replace(starts=starts, mapping=slot_mapping(order, samples, [], []))


def _unquoted(heads: Sequence[bytes]) -> tuple[str, Sequence[str]]:
    """Return *heads* as lines with empty label values, and the label values.

    Raises:
        Unusual: something follows the last number, or quotes do not match.
        UnicodeDecodeError: *heads* are not UTF-8.
    """
    *lines, rest = heads
    if rest:
        raise Unusual
    source = b"\n".join(lines).decode()
    is_escaped = "\\" in source
    if is_escaped:
        source = _without_escapes(source)
    # Every second piece is between quotes. A quote too many moves a line feed inside.
    pieces = source.split('"')
    inside = pieces[1::2]
    if len(pieces) % 2 == 0 or "\n" in "".join(inside):
        raise Unusual
    return '""'.join(pieces[0::2]), [*map(_restored, inside)] if is_escaped else inside


def _without_escapes(source: str) -> str:
    if any(letter in source for _, letter, _ in _ESCAPES):
        raise Unusual
    for sequence, letter, _ in _ESCAPES:
        source = source.replace(sequence, letter)
    if "\\" in source:
        raise Unusual  # an unknown escape sequence
    return source


def _restored(value: str) -> str:
    for _, letter, meant in _ESCAPES:
        value = value.replace(letter, meant)
    return value


def _runs(families: Families, comments: Sequence[bytes], around: str) -> list[Run]:
    """Read a body or a piece of one; add what it says of families to *families*.

    Raises:
        Unusual: a line is not ordinary.
        UnicodeDecodeError: a comment is not UTF-8.
    """
    lines = [*map(_line, around.split("\n"))] if len(comments) > 1 else []
    if len(lines) != len(comments) - 1:
        raise Unusual  # a line without a number
    runs: list[Run] = []
    first = value = 0
    for at, block in enumerate(comments):
        is_last = at >= len(lines)
        if first < at and (block or is_last or lines[at] != lines[first]):
            name, names = lines[first]
            end = value + (at - first) * len(names)
            runs.append(_run(families, name, names, range(first, at), slice(value, end)))
            first, value = at, end
        if block:
            _describe(families, block)
    return runs


@remembered(entries=2000, longest=500)
def _line(line: str) -> tuple[str, tuple[str, ...]]:
    """Return the metric's and the labels' names in a *line* with empty label values."""
    found = _sample(line)
    if found is None:
        raise Unusual
    names = tuple(_label_names(found[2] or ""))
    if len(set(names)) < len(names) or "__name__" in names:
        raise Unusual
    return found[1], names


def _describe(families: Families, block: bytes) -> None:
    """Add what the comments of *block* say to *families*."""
    source = block.decode()
    is_escaped = "\\" in source
    if is_escaped:
        source = _without_escapes(source)
    at = 0
    while at < len(source):
        found = _comment(source, at)
        if found is None:
            raise Unusual
        at = found.end()
        keyword, name, said = found.groups()
        if keyword is None:
            continue
        family, _ = family_of(name, families)  # even without a text, it creates the family
        if said is None:
            continue
        if keyword == "HELP":
            if family.help is not None:
                raise Unusual
            family.help = _restored(said) if is_escaped else said
        elif family.type is not None or said not in TYPES:
            raise Unusual
        else:
            family.type = TYPES[said]


def _run(
    families: Families, name: str, names: tuple[str, ...], samples: range, values: slice
) -> Run:
    family, part = family_of(name, families)
    if family.type is None:
        family.type = MetricType.UNTYPED
    columns = {
        label: slice(values.start + at, values.stop, len(names)) for at, label in enumerate(names)
    }
    bounds = columns.pop(family.special_label or "", None)
    ordered = tuple(sorted(columns))
    its = tuple([columns[label] for label in ordered])
    return Run(family.place, part, samples, names, values, ordered, its, bounds)
