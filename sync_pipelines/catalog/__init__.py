"""The bridge schema: connectors, entities, runs and quarantine, and its migrations."""
