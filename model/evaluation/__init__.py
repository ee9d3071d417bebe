"""How good localizations are: with a truth, against the limit, or by repetition.

Order of imports: plots, tables > report > curves > inputs, metrics, precision >
imaging, matching, subpixel > wobble.
"""
