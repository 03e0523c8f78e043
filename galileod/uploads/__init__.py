"""One upload from its metadata to `close`, and the state that all uploads share.

The only package that uses protocol, policy, storage and ledger together:

- `session`: the steps of one upload, in order;
- `connection`: the state before the metadata; `upload`: the values fixed by the metadata;
- `claims`, `earlier`: which connection has an upload, and what earlier ones have left of it;
- `opening`: the file of an upload, and what is kept of it at its end;
- `transfer`: receiving the data; `flow`: the credits for it; `checkpoints`, `beside`: what runs
  beside it;
- `verify`: comparing hashes; `ending`: logging the end and reporting it to the client; `faults`:
  converting errors to faults;
- `context`, `admission`, `reservation`, `publication`, `memory`, `running`: the state that all
  uploads share;
- `keeper`, `room`: the kept uploads, and when they are discarded.
"""
