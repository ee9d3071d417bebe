"""The page and the plots that a finished session leaves behind.

page > control_plots; picture draws with `image`.
"""
