"""Servers that tests run against: real ones, as plain processes on loopback."""
