"""What exists: a source's APIs, compared with the catalog; drift is a pure diff."""
