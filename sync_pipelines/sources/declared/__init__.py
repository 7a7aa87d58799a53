"""What all kinds share whose endpoints a connector file declares: where records and columns are, and samples."""
