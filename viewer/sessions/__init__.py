"""Running and finished sessions, as documents to look at.

session, opened > live > recorded_frames; opened > session_report. `LiveSession` and
`OpenedSession` both are a `SessionView`.
"""
