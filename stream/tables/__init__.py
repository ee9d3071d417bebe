"""Localizations on disk: our Arrow tables, the ledger, other programs' tables.

Imported in this order: ``opening``, then one module a format (``arrow``, ``text``,
``picasso``), ``pieces``, and ``coordinates``, which holds the conventions of them all.
"""
