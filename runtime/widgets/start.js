// Offers each widget of a page by a button that names its download, and loads nothing before it is pressed, or a link
// with settings of the widget is followed. Without it the page is complete: the box of a widget holds words or a table.

const readable = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function offer(box) {
  const { widget, label, bytes } = box.dataset;
  box.dataset.ready = "";
  const button = Object.assign(document.createElement("button"), {
    type: "button",
    className: "md-button md-button--primary",
  });
  button.textContent = `Start ${label} (${readable(bytes)})`;
  const status = document.createElement("output");
  const row = Object.assign(document.createElement("p"), { className: "widget-start" });
  row.append(button, " ", status);
  box.prepend(row);
  button.addEventListener("click", begin);
  begins.set(box, begin);

  async function begin() {
    button.disabled = true;
    status.textContent = "Loading …";
    try {
      const { start } = await import(`./${widget}.js`);
      const content = document.createElement("div");
      await start(content, box.dataset);
      box.replaceChildren(content);
      content.querySelector("textarea, input, select, button").focus({ preventScroll: true });
    } catch (error) {
      button.disabled = false;
      status.textContent =
        location.protocol === "file:"
          ? "Pages opened from a file cannot load it. Open the page through a web server."
          : `It could not be loaded: ${error.message}. Check the connection and try again.`;
    }
  }
}

const begins = new WeakMap(); // box: what starts its widget, or starts it again

// The fragment "#name?key=value" is a link to a widget with its settings (see ui.js): it starts the widget and shows it.
async function follow() {
  const name = location.hash.slice(1).split("?")[0];
  const box = [...document.querySelectorAll(".widget[data-ready]")].find(({ dataset }) => dataset.widget === name);
  if (!box) return;
  box.scrollIntoView();
  await begins.get(box)();
  box.scrollIntoView();
}

const STYLES = new URL("../../css/widgets.css", /** @type {HTMLScriptElement} */ (document.currentScript).src).href;

// Only pages with a widget load its styles. Instant navigation may have dropped those of an earlier page.
function style() {
  if (document.querySelector(`link[href="${STYLES}"]`)) return;
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: STYLES }));
}

// The theme emits on document$ at load and again after each instant navigation.
document$.subscribe(() => {
  const boxes = document.querySelectorAll(".widget:not([data-ready])");
  if (boxes.length) style();
  boxes.forEach(offer);
  follow();
});
addEventListener("hashchange", follow);
