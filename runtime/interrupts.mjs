// How a page stops Python in its worker on any host. Python hears no message while it runs, and memory that both share
// needs headers that few hosts send. So each run comes with the address of an empty Blob. The page stops the run by
// revoking the address, and Python asks between its steps whether the address is still good.

const SIGINT = 2;
const PAUSE = 100; // ms between two requests, which take one or two

export function isGood(address) {
  const request = new XMLHttpRequest();
  request.open("GET", address, false);
  try {
    request.send();
  } catch {
    return false;
  }
  return request.status === 200;
}

// For `setInterruptBuffer`: Pyodide reads, and then clears, the first entry.
export class Interrupts {
  #address = null;
  #next = Infinity;

  watch(address) {
    this.#address = address;
    this.#next = address ? performance.now() + PAUSE : Infinity;
  }

  get 0() {
    if (performance.now() < this.#next) return 0;
    const good = isGood(this.#address);
    this.#next = performance.now() + PAUSE;
    return good ? 0 : SIGINT;
  }

  set 0(_) {}
}
