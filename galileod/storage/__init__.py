"""Stores finished files durably.

`base` is the contract of a store; `local` is its implementation on a local filesystem. This
package does not depend on users, uploads or the protocol.
"""
