"""Decision tables: the part of DMN 1.3 and FEEL that judges records, proven free of holes when it is loaded."""
