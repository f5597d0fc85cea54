"""The heads of frames, however they are cut."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from megabot_cli.protocol.frames import FrameWalk, WrongMask, frame_end


def frame(size: int, *, masked: bool) -> bytes:
    """With a body whose bytes look like heads without a mask."""
    mask = 0x80 if masked else 0
    if size < 126:
        head = struct.pack(">BB", 0x81, mask | size)
    elif size < 65536:
        head = struct.pack(">BBH", 0x81, mask | 126, size)
    else:
        head = struct.pack(">BBQ", 0x81, mask | 127, size)
    return head + b"mask" * masked + b"\x01" * size


sizes = st.sampled_from([0, 1, 5, 125, 126, 300, 65_535, 65_536])


@given(sizes, st.booleans(), st.binary(max_size=4))
def test_the_end_of_any_frame_is_where_the_next_begins(
    size: int, masked: bool, before: bytes
) -> None:
    whole = frame(size, masked=masked)
    assert frame_end(before + whole + b"\x81\x80", len(before)) == len(before) + len(whole)
    assert frame_end(whole[:1], 0) == 0


@given(st.lists(sizes, max_size=5), st.booleans(), sizes, st.lists(st.integers(1, 200)))
def test_a_frame_without_a_mask_is_found_after_any_others_however_they_are_cut(
    good: list[int], has_bad: bool, bad: int, cuts: list[int]
) -> None:
    whole = b"".join(frame(size, masked=True) for size in good)
    ends = len(whole)
    if has_bad:
        whole += frame(bad, masked=False)
    walk, at, passed = OfClients(), 0, 0
    for size in (*cuts, len(whole)):
        piece = walk.begun + whole[at : at + size]
        walk.begun, at, given = b"", at + size, 0
        while given < len(piece) and not walk.begun:
            try:
                given = walk.upto(piece, given, reads=False, most_held=0)
            except WrongMask:
                assert has_bad
                assert passed + given <= ends
                return
        passed += given
    assert not has_bad
    assert passed == ends


class OfClients(FrameWalk):
    peer_masks = True
