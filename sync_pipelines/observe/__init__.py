"""What is wrong now, the incidents that come of it, and the messages about them."""
