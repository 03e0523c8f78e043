"""All servers with one fault each, by name."""

from typing import Final

from conformance.broken import server_faults_content, server_faults_resume, server_faults_signals
from conformance.broken.server_peer import Session

FAULTS: Final[dict[str, type[Session]]] = {
    **server_faults_signals.FAULTS,
    **server_faults_content.FAULTS,
    **server_faults_resume.FAULTS,
}
