"""The geometry of the charts: pure functions from amounts to shapes in the units of an SVG's view box.

Amounts are Decimals and exact; only a position on the screen is a float. The templates in `templates/charts.svg` draw
what these functions return.
"""
