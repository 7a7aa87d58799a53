"""Put rows down: staging by dlt, then one atomic publish."""
