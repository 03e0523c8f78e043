"""One connection: handshake, routing, authorization, responses. Knows nothing of files on disk."""
