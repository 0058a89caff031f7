"""Drawings in SVG, by hand: ``marks`` builds elements, ``scale`` knows axes; one module a kind of drawing.

A drawing is a pure function of the report's data. Colours are classes: the page's style gives them, in both themes.
"""
