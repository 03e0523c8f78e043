"""One connection: limits, handshake, routing, authorisation, responses.

Uploads are served by `uploads`; the files that are stored, and the ledger, are not known here.
"""
