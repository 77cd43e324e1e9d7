"""Training of the posts' autoencoder with Lightning (extra ``train``)."""
