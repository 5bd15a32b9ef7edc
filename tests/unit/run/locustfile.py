"""Two kinds of user, given to a real Locust: one that likes every answer, one whose own check says no to some."""

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
