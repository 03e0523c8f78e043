"""One upload from its metadata to `close`, and the state that all uploads share.

The only package that uses protocol, policy, storage and ledger together:

- `session`: the steps of one upload, in order;
- `connection`: the state before the metadata; `upload`: the values fixed by the metadata;
- `transfer`: receiving the data; `flow`: the credits for it;
- `verify`: comparing hashes; `ending`: logging the end and reporting it to the client; `faults`:
  converting errors to faults;
- `context`, `admission`, `publication`, `memory`: the state that all uploads share.
"""
