// What everything that runs code on a page uses.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Whether `llmguide serve` opened this tab: guide.js has put its token there.
export function hasKernel() {
  try {
    return sessionStorage.getItem("llmguide.kernel") !== null;
  } catch {
    return false; // storage is switched off
  }
}
