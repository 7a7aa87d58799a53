"""Guarded HTTP: sessions, credentials, limits and retries."""
