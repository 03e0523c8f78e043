"""The corpus of the fuzzer, and a few bent streams, in each run of the suite."""

import random

import pytest
from fuzz.fuzz_receive import CORPUS, MUTATIONS, run, seeds, well_behaved
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", [path.name for path in sorted(CORPUS.iterdir())])
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_of_the_corpus_does_no_harm(name: str, seed: int) -> None:
    run((CORPUS / name).read_bytes(), seed)


def test_what_sound_clients_send_is_in_the_corpus() -> None:
    for name, stream in well_behaved().items():
        assert (CORPUS / name).read_bytes() == stream


@pytest.mark.parametrize("name", ["javascript", "perl", "empty", "control", "twice"])
def test_what_sound_clients_send_is_stored_by_those_who_are_patient(name: str) -> None:
    assert sum(run(well_behaved()[name], seed) for seed in range(10)) >= 3


@settings(max_examples=150)
@given(st.integers(0, 1 << 32), st.sampled_from(seeds()))
def test_a_bent_stream_does_no_harm(seed: int, stream: bytes) -> None:
    chance = random.Random(seed)
    run(chance.choice(MUTATIONS)(chance, stream), seed)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 1 << 32))
def test_any_bytes_do_no_harm(stream: bytes, seed: int) -> None:
    run(stream, seed)
