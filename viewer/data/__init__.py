"""The rows behind an image: store, selection, drift, region, exported tables.

export_table, region, drift > document > row_store, column_histograms > the other
modules.
"""
