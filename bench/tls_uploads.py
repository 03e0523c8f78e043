"""Benchmark of one upload over TLS 1.3 with AES-GCM, compared with one without TLS."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from certificate import make_certificate
from install_servers import UnavailableError
from measure import (
    Settings,
    Subject,
    alternate,
    at_least,
    at_most,
    row,
    spread,
    table,
    unavailable_rows,
)
from servers import OTHER, Peer, available
from single_uploads import upload
from source_file import source

RATE_TARGET = 0.6
"""Minimum rate over TLS, relative to the rate without."""
CPU_TARGET = 1.6
"""Maximum CPU time over TLS, relative to that without."""


def tls(settings: Settings, peers: Sequence[Peer]) -> str:
    """One upload at a time over TLS 1.3 with AES-GCM, and without TLS; on tmpfs."""
    names = ("galileod", OTHER, "nginx")
    measured = [peer for peer in peers if peer.name in names]
    plain, secure = dict[str, Subject](), dict[str, Subject]()
    with source(settings.tmpfs, settings.scaled(1)) as data, ExitStack() as stack:
        try:
            certificate = make_certificate(data.folder)
        except UnavailableError as reason:
            return f"Not available: {reason}"
        (whole,) = data.parts(1)
        for peer in available(measured):
            place = data.folder / peer.name
            server = stack.enter_context(peer.started(place))
            plain[peer.name] = Subject(peer.name, partial(upload, server, whole))
            place = data.folder / f"{peer.name}-tls"
            server = stack.enter_context(peer.started(place, certificate=certificate))
            name = f"{peer.name}, TLS"
            secure[peer.name] = Subject(name, partial(upload, server, whole))
        alternate("tls", [*plain.values(), *secure.values()], settings)
    rows = []
    for peer in available(measured):
        for subject in (plain[peer.name], secure[peer.name]):
            with_tls = subject is secure[peer.name]
            rates = subject.ratios_to(plain[peer.name]) if with_tls else []
            cpu = subject.ratios_to(plain[peer.name], "cpu") if with_tls else []
            judged = with_tls and peer.name == "galileod"
            cells = (
                spread(rates),
                at_least(RATE_TARGET, rates) if judged else "-",
                spread(cpu),
                at_most(CPU_TARGET, cpu) if judged else "-",
                spread(subject.values("rate"), ".0f"),
                spread(subject.values("cpu_per_gib")),
            )
            rows.append(row(subject, *cells))
    head = ("peer", "of the rate without TLS", "target", "of the CPU without TLS", "target")
    return table((*head, "MB/s", "CPU s/GiB"), rows + unavailable_rows(measured, 6))
