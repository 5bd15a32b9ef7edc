"""Users for a real Locust. Content and Critic make a load; the unlucky ones meet one failure after the other."""

from __future__ import annotations

from locust import FastHttpUser, HttpUser, constant, task


class Content(FastHttpUser):
    """Asks, and takes a 500 for what it is."""

    wait_time = constant(0.02)

    @task(3)
    def ask(self) -> None:
        self.client.get("/ok")

    @task
    def ask_for_trouble(self) -> None:
        self.client.get("/500")


class Critic(HttpUser):
    """Finds fault with a good answer, and none with a bad one."""

    wait_time = constant(0.02)

    @task
    def refuse(self) -> None:
        with self.client.get("/ok", catch_response=True) as answer:
            answer.failure("not to my taste")

    @task
    def accept(self) -> None:
        with self.client.get("/500", catch_response=True) as answer:
            answer.success()


UNLUCKY = ("/close", "/reset", "/malformed", "http://127.0.0.1:9/refused", "http://nowhere.invalid/", "/never", "/ok")


class Unlucky(HttpUser):
    """Meets every failure by way of requests."""

    wait_time = constant(0.01)

    @task
    def suffer(self) -> None:
        for path in UNLUCKY:
            self.client.get(path, timeout=0.1)


class UnluckyToo(FastHttpUser):
    """Meets every failure by way of geventhttpclient."""

    wait_time = constant(0.01)
    network_timeout = 0.1

    @task
    def suffer(self) -> None:
        for path in UNLUCKY:
            self.client.get(path)
