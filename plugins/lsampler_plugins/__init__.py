"""The strategies, cores, evaluators and loaders that come with lsampler, one file each.

They are found through the entry points of ``pyproject.toml``, as anybody's plugins are, and use
only what ``lsampler`` exports.
"""
