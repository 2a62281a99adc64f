// The back end of `llmguide serve`: a Python process of the reader's machine, at the end of a WebSocket.

const TOKEN = "llmguide.kernel"; // guide.js puts it there, from the link that `llmguide serve` prints

// The connection, or null if the kernel refuses: the token is of an earlier start.
export function open(receive) {
  const token = sessionStorage.getItem(TOKEN);
  const socket = new WebSocket(`ws://${location.host}/llmguide-kernel`, ["llmguide", token]);
  const send = (message) => socket.send(JSON.stringify(message));
  let opened = false;
  return new Promise((resolve) => {
    socket.onopen = () => {
      opened = true;
      receive({ type: "loading", text: "Starting Python on this machine" });
      resolve({
        patience: 5000, // ms; an operation of PyTorch may take them, and the names are worth a wait
        send,
        interrupt() {
          send({ type: "interrupt" });
          return true;
        },
        close() {
          socket.onclose = null;
          socket.close();
        },
      });
    };
    socket.onmessage = ({ data }) => receive(JSON.parse(data));
    socket.onclose = () => {
      if (opened) return receive({ type: "failed", text: "The kernel has ended, and its variables are lost. Run again to start a new one." });
      if (sessionStorage.getItem(TOKEN) === token) sessionStorage.removeItem(TOKEN);
      resolve(null);
    };
  });
}
