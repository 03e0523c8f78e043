"""One upload from its metadata to `close`, and what all uploads share.

The only package in which protocol, policy, storage and ledger meet:

- `session`: the steps of one upload, in order;
- `connection`: what is known before the metadata; `upload`: what the metadata fixes;
- `transfer`: receiving the data; `flow`: the credits for it;
- `verify`, `ending`, `faults`: the hash, the end in the log and for the client, errors as faults;
- `context`, `admission`, `publication`, `memory`: what all uploads share.
"""
