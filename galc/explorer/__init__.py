"""The explorer of corruption matrices."""

from galc.checks import needs

for _package in ("PIL", "ipywidgets", "plotly", "matplotlib"):
    needs(_package, "images" if _package == "PIL" else "study")
