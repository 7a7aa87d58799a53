"""Files: bounded, private, and YAML that is read without trust."""
