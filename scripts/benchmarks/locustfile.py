"""What Locust's users do in the benchmark: the one request, again and again, without a pause."""

from __future__ import annotations

from locust import FastHttpUser, HttpUser, task


class Plain(HttpUser):
    """Locust's user on requests."""

    @task
    def get(self) -> None:
        """Send one request."""
        self.client.get("/")


class Fast(FastHttpUser):
    """Locust's user on geventhttpclient."""

    @task
    def get(self) -> None:
        """Send one request."""
        self.client.get("/")
