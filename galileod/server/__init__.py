"""Serves one connection: limits, handshake, routing, authorisation, responses.

The package `uploads` receives and stores the files.
"""
