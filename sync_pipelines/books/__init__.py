"""What one run writes into the control database: its row in `sync_runs`, the quarantine, reviews and kept originals."""
