"""How numbers are computed: seeded blocks, threads, Dask clusters, exact neighbours, distances."""
