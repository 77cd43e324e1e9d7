"""How the sections' figures are drawn."""
