"""Addresses: where a request may go, and connections whose address was checked first."""
