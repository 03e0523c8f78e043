"""All clients with one fault each, by name."""

from typing import Final

from conformance.broken import client_faults_content, client_faults_resume, client_faults_signals
from conformance.broken.client_peer import Uploader

FAULTS: Final[dict[str, type[Uploader]]] = {
    **client_faults_signals.FAULTS,
    **client_faults_content.FAULTS,
    **client_faults_resume.FAULTS,
}
