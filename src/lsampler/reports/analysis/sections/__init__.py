"""The sections of the analysis: each measures, states what it found, and names its tables and figures."""
