"""The cores."""
