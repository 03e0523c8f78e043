"""The log: one form for everything that is logged, warned or left uncaught.

Imports nothing of galileod but `policy`; decides nothing about uploads.
"""
