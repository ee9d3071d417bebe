"""Frames on their way from a bridge to an engine, with credit, losses named.

``transmission`` moves one acquisition through ``sender``, whose other end is
``receiver``. Each has a thread (``sender_thread`` with ``outbox``, ``receiver_thread``
with ``inbound``, ``accounting`` and ``ring``) that speaks the protocol of
``messages``, packed by ``wire``. Imported in this order.
"""
