"""Bytes to messages and back: sockets, TLS, HTTP/1.1, WebSocket, proxy headers.

Knows nothing of uploads.
"""
