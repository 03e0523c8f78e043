"""Network protocols: sockets, TLS, HTTP/1.1, WebSocket and proxy headers.

Imports nothing that concerns uploads.
"""
