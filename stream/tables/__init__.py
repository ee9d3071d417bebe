"""Localizations on disk: our Arrow tables, the ledger, other programs' tables.

``coordinates`` holds the conventions of all of them.
"""
