"""A headless Firefox of the system, driven over WebDriver BiDi, which it speaks without a program between.

https://w3c.github.io/webdriver-bidi/. Playwright drives only a Firefox of its own build, which no package
brings.
"""

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

# Firefox itself must ask no other host for anything.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "data:,",
}
KEYS = {
    "Control": "\ue009",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Tab": "\ue004",
}  # as WebDriver names them
ADDRESS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


class Firefox:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()  # in a thread of its own: Playwright's may run in this one
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._socket: WebSocketClientConnection = self._wait(self._connect(f"{address}/session"))
        self._sent = 0
        self.send("session.new", capabilities={})
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _connect(self, address: str) -> WebSocketClientConnection:
        return await websocket_connect(address, max_message_size=2**26)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and wait for its result."""
        self._sent += 1
        return self._wait(self._send({"id": self._sent, "method": method, "params": params}))

    async def _send(self, command: dict[str, Any]) -> dict[str, Any]:
        await self._socket.write_message(json.dumps(command))
        while (text := await self._socket.read_message()) is not None:
            reply = json.loads(text)
            if reply.get("id") == command["id"]:
                assert reply["type"] == "success", reply
                return reply["result"]
        raise ConnectionError(f"Firefox has gone, and left {command['method']} without an answer")

    def goto(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Value of an expression, or of its promise; whatever JSON can hold."""
        found = self.send(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert found["type"] == "success", found["exceptionDetails"]["text"]
        return json.loads(found["result"]["value"])

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """Value of an expression as soon as it is true."""
        milliseconds = round(1000 * seconds)
        return self.evaluate(
            f"""new Promise((resolve, reject) => {{
              const last = performance.now() + {milliseconds};
              const look = () => {{
                const found = {expression};
                if (found) resolve(found);
                else if (performance.now() > last) reject(new Error({json.dumps(expression)}));
                else setTimeout(look, 50);
              }};
              look();
            }})"""
        )

    def press(self, *keys: str) -> None:
        """Press keys one after another; "Control+a" is held together."""
        actions: list[dict[str, str]] = []
        for chord in keys:
            values = [KEYS.get(key, key) for key in (chord.split("+") if len(chord) > 1 else [chord])]
            actions += [{"type": "keyDown", "value": value} for value in values]
            actions += [{"type": "keyUp", "value": value} for value in reversed(values)]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self.send("input.performActions", context=self._tab, actions=[source])

    def close(self) -> None:
        """Hang up."""
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._socket.close()


@contextmanager
def firefox(program: str, profile: Path) -> Iterator[Firefox]:
    """Start Firefox with a new profile."""
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("".join(lines), encoding="utf-8")
    command = [
        program,
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
        "--remote-debugging-port",
        "0",
    ]
    with subprocess.Popen([*command, "about:blank"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            match = next((found for line in process.stderr if (found := ADDRESS.search(line))), None)
            assert match, "Firefox ended before it listened"
            tab = Firefox(match[1])
            yield tab
            tab.close()
        finally:
            process.terminate()
