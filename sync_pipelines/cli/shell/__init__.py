"""What the commands share: settings, output, progress, failures, child processes."""
