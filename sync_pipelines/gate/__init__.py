"""May a record pass: the contract of its entity, checked by pandera on every batch."""
