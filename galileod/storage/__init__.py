"""Where bytes become a durable file.

`base` is the contract of a store; `local` is its implementation on a local filesystem. Knows
nothing of users, uploads or the protocol.
"""
