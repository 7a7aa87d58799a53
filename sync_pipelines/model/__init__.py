"""The nouns: connectors, entities, columns, types, cursors, runs. No I/O here."""
