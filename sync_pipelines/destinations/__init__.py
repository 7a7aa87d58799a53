"""Where rows go: the port `Destination`, and a folder for each destination."""
