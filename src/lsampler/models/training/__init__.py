"""Training of autoencoders (extra ``train``)."""
