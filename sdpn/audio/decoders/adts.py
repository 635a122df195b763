"""Raw AAC streams (ADTS): ISO/IEC 13818-7, 6.2."""

from typing import BinaryIO

from sdpn.audio import faults
from sdpn.errors import UnusableError

_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def begins(start: bytes) -> bool:
    """Whether a file that begins so is a raw AAC stream."""
    return len(start) >= 7 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0


def read_header(opened: BinaryIO, size: int) -> tuple[int, int, int]:
    """Sampling rate, samples and channels: the frames are counted by their headers, 1024 samples a block.

    Raises:
        UnusableError: it is cut off within a frame, or a frame is damaged.
    """
    place = blocks = 0
    rate = channels = 0
    while place + 7 <= size:
        opened.seek(place)
        head = opened.read(7)
        if not begins(head):
            break  # a tag behind the last frame
        number = head[2] >> 2 & 15
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if number >= len(_RATES) or length < 7:
            raise UnusableError(faults.DAMAGED, "its frames")
        if place + length > size:
            raise UnusableError(faults.CUT_OFF, "within a frame")
        rate = rate or _RATES[number]
        channels = channels or ((head[2] & 1) << 2 | head[3] >> 6)
        blocks += (head[6] & 3) + 1
        place += length
    return rate, 1024 * blocks, {0: 2, 7: 8}.get(channels, channels)
