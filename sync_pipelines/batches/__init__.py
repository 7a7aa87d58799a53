"""Pages into typed Arrow batches: decode, records, exact values, content hashes."""
