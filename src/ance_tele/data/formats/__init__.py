"""Readers of collections, one module a format.

What a reader cannot read it refuses with a :class:`~ance_tele.console.errors.UserError` that names the file and the
line (of a JSON array: the element), what was found there, and what is needed.
"""
