"""Any bytes, cut anywhere, never crash the decoder nor make it hold more than one bounded frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.wire import frames
from atoll.wire.frames import Frame, FrameDecoder, WireError

CONTROL_LIMIT = 4096


def encode(frame: Frame) -> bytes:
    return frames.header(frame.kind, frame.id, len(frame.payload)) + frame.payload


idents = st.integers(0, 0xFFFFFFFF)
data_frames = st.builds(Frame, st.just(frames.DATA), idents, st.binary(min_size=1, max_size=600))
control_frames = st.builds(
    Frame,
    st.sampled_from([frames.REQUEST, frames.RESPONSE, frames.NOTICE, frames.RESET]),
    idents,
    st.binary(max_size=600),
)
end_frames = st.builds(Frame, st.just(frames.END), idents, st.just(b""))
any_frames = st.lists(st.one_of(data_frames, control_frames, end_frames), max_size=12)


@given(any_frames, st.lists(st.integers(1, 400), max_size=40))
def test_frames_survive_any_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    decoder = FrameDecoder(CONTROL_LIMIT)
    got: list[Frame] = []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        got.extend(decoder.feed(piece))
    got.extend(decoder.feed(stream))
    assert got == sent
    assert decoder.buffered == 0


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_any_bytes_are_frames_or_an_error_and_stay_bounded(pieces: list[bytes]) -> None:
    decoder = FrameDecoder(CONTROL_LIMIT)
    try:
        for piece in pieces:
            for frame in decoder.feed(piece):
                assert frame.kind in frames.KINDS
            assert decoder.buffered <= max(frames.MAX_DATA_BYTES, CONTROL_LIMIT) + 8 + len(piece)
    except WireError:
        return


@pytest.mark.parametrize(
    ("kind", "length", "word"),
    [
        (frames.DATA, 0, "data frame of 0 bytes"),
        (frames.DATA, frames.MAX_DATA_BYTES + 1, "data frame of"),
        (frames.RESPONSE, CONTROL_LIMIT + 1, "control frame of"),
        (frames.END, 1, "end frame with a payload"),
        (frames.CREDIT, 3, "credit frame of 3"),
        (99, 0, "unknown kind 99"),
    ],
)
def test_a_header_alone_is_enough_to_refuse(kind: int, length: int, word: str) -> None:
    with pytest.raises(WireError, match=word):
        FrameDecoder(CONTROL_LIMIT).feed(frames.header(kind, 1, length))


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8), st.binary(max_size=50)
)
def test_control_frames_carry_json_and_a_blob(body: object, blob: bytes) -> None:
    (frame,) = FrameDecoder(CONTROL_LIMIT * 100).feed(frames.control(frames.NOTICE, 7, body, blob))
    assert frames.parse_control(frame.payload) == (body, blob)


def test_names_that_are_not_utf8_travel_as_surrogates() -> None:
    (frame,) = FrameDecoder(CONTROL_LIMIT).feed(frames.control(frames.NOTICE, 0, {"name": "\udcff"}))
    assert frames.parse_control(frame.payload)[0] == {"name": "\udcff"}


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b"\xff", b"9" * 10_000, b""])
def test_what_is_not_json_is_a_wire_error(text: bytes) -> None:
    with pytest.raises(WireError):
        frames.parse_json(text)


@pytest.mark.parametrize("payload", [b"", b"\x01\x00", b"\xff\xff\x00\x00{}"])
def test_a_control_frame_that_lies_about_its_length(payload: bytes) -> None:
    with pytest.raises(WireError):
        frames.parse_control(payload)
