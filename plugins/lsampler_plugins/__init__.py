"""The strategies, cores, evaluators and loaders that come with lsampler, one file each.

They are found through the entry points of ``pyproject.toml``, as third-party plugins are, and import
only public names of ``lsampler``.
"""
