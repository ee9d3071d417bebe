"""What is in view, decided without a widget: scene, navigation, contrast, drawing.

controller > document_sheet > contrast > scene > render_thread > view_layers;
navigation and pacing import none of these.
"""
