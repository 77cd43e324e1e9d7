"""Reports: pages and figures of an analysis and of a comparison."""
