"""The masking in C is the masking that wsproto has in Python."""

import importlib.util
import itertools
from types import ModuleType

import websockets.speedups
import wsproto.frame_protocol
from hypothesis import example, given
from hypothesis import strategies as st

from galileod import transport


def _pristine() -> ModuleType:
    """wsproto's module as it is on disk; the imported one has had its masker exchanged."""
    found = importlib.util.find_spec("wsproto.frame_protocol")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


THEIRS = _pristine().XorMaskerSimple


def test_wsproto_uses_the_masker() -> None:
    assert wsproto.frame_protocol.XorMaskerSimple is transport._Masker  # type: ignore[comparison-overlap]
    assert THEIRS is not transport._Masker


def test_the_routine_is_the_compiled_one() -> None:
    assert vars(transport)["apply_mask"] is websockets.speedups.apply_mask


@given(
    data=st.binary(max_size=300),
    key=st.binary(min_size=4, max_size=4),
    cuts=st.lists(st.integers(0, 300)),
    mutable=st.booleans(),
)
@example(data=b"0123456789", key=b"abcd", cuts=[1, 1, 2, 5], mutable=True)
def test_any_data_in_any_pieces_is_masked_as_wsproto_does(
    data: bytes, key: bytes, cuts: list[int], *, mutable: bool
) -> None:
    ours, theirs = transport._Masker(key), THEIRS(key)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        piece = data[start:end]
        expected = bytes(theirs.process(bytearray(piece)))
        assert bytes(ours.process(bytearray(piece) if mutable else piece)) == expected


@given(data=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_back_the_data(data: bytes, key: bytes) -> None:
    assert transport._Masker(key).process(transport._Masker(key).process(data)) == data
