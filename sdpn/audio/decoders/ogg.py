"""Ogg files (RFC 3533): the streams that follow each other in one, and whether the last of them has its end."""

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from sdpn.audio import faults
from sdpn.audio.decoders.parts import Part
from sdpn.errors import UnusableError

_LIBSNDFILES = (b"OpusHead", b"\x01vorbis")
_BEGIN, _END = 2, 4  # flags of a page


class Link(NamedTuple):
    """What stands between two beginnings: one stream of sound, or several streams that are interleaved.

    Attributes:
        start, stop: bytes of the file.
        kinds: the first bytes of each stream.
        ended: whether each has its end-of-stream page.
    """

    start: int
    stop: int
    kinds: tuple[bytes, ...]
    ended: bool


def find_links(opened: BinaryIO) -> list[Link]:
    """Find what is chained in an Ogg file.

    Raises:
        UnusableError: it is cut off within a page, or has no end-of-stream page, or what stands between two pages is
            none.
    """
    links: list[Link] = []
    start, kinds, open_streams, heads = 0, [], set(), True
    stop = 0
    for offset, stop, flags, serial, first in _pages(opened):  # noqa: B007  (stop is used behind the loop)
        if flags & _BEGIN:
            if not heads:
                links.append(Link(start, offset, tuple(kinds), not open_streams))
                start, kinds, open_streams = offset, [], set()
            heads = True
            kinds.append(first)
            open_streams.add(serial)
        else:
            heads = False
        if flags & _END:
            open_streams.discard(serial)
    links.append(Link(start, stop, tuple(kinds), not open_streams))
    if not all(link.ended for link in links):
        raise UnusableError(faults.CUT_OFF, "a stream in it has no end")
    return links


def parts_of(opened: BinaryIO) -> tuple[Part, ...] | None:
    """The parts that libsndfile reads one after another, none where that is the whole file; None where it is ffmpeg's.

    Raises:
        UnusableError: see `find_links`; or streams are chained that libsndfile does not read.
    """
    links = find_links(opened)
    known = all(len(link.kinds) == 1 and link.kinds[0].startswith(_LIBSNDFILES) for link in links)
    if len(links) == 1:
        return () if known else None
    if not known:
        raise UnusableError(faults.JOINED, f"{len(links)} streams follow each other, and not all are Opus or Vorbis")
    return tuple(Part(link.start, link.stop) for link in links)


def _pages(opened: BinaryIO) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Offset, end, flags, serial number and the first bytes of the content of every page."""
    size, at = opened.seek(0, os.SEEK_END), 0
    while at < size:
        opened.seek(at)
        head = opened.read(27)
        if head[:4] != b"OggS"[: len(head)]:
            raise UnusableError(faults.DAMAGED, f"there is no Ogg page at byte {at}")
        lengths = opened.read(head[26]) if len(head) == 27 else b""
        stop = at + 27 + len(lengths) + sum(lengths)
        if len(head) < 27 or len(lengths) < head[26] or stop > size:
            raise UnusableError(faults.CUT_OFF, "within a page")
        yield at, stop, head[5], int.from_bytes(head[14:18], "little"), opened.read(min(8, sum(lengths)))
        at = stop
