// The index of the search is several times the weight of any page. The theme fetches it with each page; here it waits
// until a reader turns to the search, or comes from it.

{
  const { open, send } = XMLHttpRequest.prototype;
  const waiting = [];
  const isIndex = new WeakSet();
  let wanted = /[?&][qh]=/.test(location.search);

  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (String(url).endsWith("/search/search_index.json")) isIndex.add(this);
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (wanted || !isIndex.has(this)) send.call(this, body);
    else waiting.push(() => send.call(this, body));
  };
  for (const event of ["focusin", "pointerover"]) {
    addEventListener(event, (/** @type {any} */ { target }) => {
      if (!target.closest?.(".md-search, [for=__search]")) return;
      wanted = true;
      for (const go of waiting.splice(0)) go();
    });
  }
}

// The theme reads the query when a key is pressed and released. A paste by mouse, dictation and a key that is held
// change it at other times, and would leave old results below it.
addEventListener("input", (/** @type {any} */ { target }) => {
  if (!target.matches?.(".md-search__input")) return;
  for (const event of ["keydown", "keyup"]) target.dispatchEvent(new Event(event));
});

document.querySelector(".md-search-result__meta")?.setAttribute("role", "status");
