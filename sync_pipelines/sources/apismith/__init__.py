"""Sources of the APISmith protocol (S2)."""
