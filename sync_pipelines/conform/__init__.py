"""Make records ours: exact types, canonical values, content hashes."""
