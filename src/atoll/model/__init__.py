"""The domain's words: ids, what a sandbox is asked to be, its life, events, errors.

Values only. Nothing here opens a file, a socket or a process, and nothing here has a
field for a secret's value.
"""
