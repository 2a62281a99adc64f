// Turns the plain questions of the quiz into forms. Without it the page is complete: choices, and answers folded.

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// "1,024", "1e21", "25 %" and "2.5" as numbers; NaN for anything else.
const toNumber = (text) => (/\d/.test(text) ? Number(text.replace(/[,\s%]|\u2009/g, "")) : NaN);
const isClose = (a, b, tolerance) => Math.abs(a - b) <= Math.max(tolerance * Math.abs(b), 1e-9);

// Each kind adds its inputs to the list of choices and returns a function that judges them:
// [right?, indices of the explanations to show], or null while nothing is answered.
const KINDS = {
  choose(list, answer, type, name) {
    const inputs = [...list.children].map((item, index) => {
      const input = make("input", { type, name, value: index });
      item.replaceChildren(make("label", {}, input, make("span", {}, ...item.childNodes)));
      return input;
    });
    list.classList.add("choices");
    return () => {
      const ticked = inputs.flatMap((input, index) => (input.checked ? [index] : []));
      if (!ticked.length) return null;
      const wrong = inputs.flatMap((input, index) => (input.checked !== answer.includes(index) ? [index] : []));
      return [!wrong.length, type === "radio" || !wrong.length ? ticked : wrong];
    };
  },

  number(form, answer, tolerance, unit) {
    const input = make("input", { type: "text", inputMode: "decimal", autocomplete: "off" });
    form.append(make("label", { className: "number" }, "Your answer: ", input, unit ? ` ${unit}` : ""));
    return () => {
      const given = toNumber(input.value);
      if (Number.isNaN(given)) return null;
      const known = answer.findIndex((value) => isClose(given, value, tolerance));
      return [known === 0, known >= 0 ? [known] : []];
    };
  },

  order(list, answer, say) {
    const places = new Map([...list.children].map((item, index) => [item, answer[index]]));
    for (const item of list.children) {
      const words = item.textContent.trim();
      item.replaceChildren(make("span", {}, ...item.childNodes));
      for (const [label, step] of Object.entries({ up: -1, down: 1 })) {
        const button = make("button", { type: "button", textContent: step < 0 ? "↑" : "↓" });
        button.setAttribute("aria-label", `Move ${label}: ${words}`);
        button.addEventListener("click", () => {
          const items = [...list.children];
          const target = items[items.indexOf(item) + step];
          if (!target) return;
          if (step < 0) target.before(item);
          else target.after(item);
          button.focus();
          say(`${words}: place ${[...list.children].indexOf(item) + 1} of ${items.length}`);
        });
        item.append(button);
      }
    }
    list.classList.add("sortable");
    return () => {
      const order = [...list.children].map((item) => places.get(item));
      const misplaced = order.flatMap((place, index) => (place === index + 1 ? [] : [index]));
      return [!misplaced.length, misplaced.length ? misplaced : order.map((_, index) => index)];
    };
  },
};

const copyOf = (list, index) => list.children[index].querySelector("span").cloneNode(true).childNodes;

function buildVariant(variant, name, onJudged) {
  const { kind, unit, tolerance } = variant.dataset;
  const answer = JSON.parse(variant.dataset.answer);
  const details = variant.querySelector(":scope > details.answer");
  const list = variant.querySelector(":scope > :is(ol, ul)");
  const why = [...details.querySelectorAll(":scope > :is(ol, ul) > li")];
  const result = make("output", { className: "result" });
  result.setAttribute("aria-live", "polite");
  const fields = make("fieldset");
  const buttons = make("p", { className: "buttons" }, make("button", { type: "submit", className: "md-button", textContent: "Check" }));
  const form = make("form", {}, fields, result);
  const [text, ...rest] = [...variant.children].filter((child) => child !== details);
  fields.append(make("legend", {}, ...text.childNodes), ...rest);
  text.remove();
  /** @type {() => any} */
  const judge =
    kind === "numeric" ? KINDS.number(fields, answer, Number(tolerance), unit)
    : kind === "order" ? KINDS.order(list, answer, (words) => result.replaceChildren(words))
    : KINDS.choose(list, answer, kind === "multiple" ? "checkbox" : "radio", name);
  fields.append(buttons);
  details.remove();  // until there is an answer
  details.querySelector("summary").textContent = "All explanations";
  variant.prepend(form);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const found = judge();
    if (!found) return result.replaceChildren(kind === "numeric" ? "Write a number, such as 0.25 or 1.2e9." : "Choose first.");
    const [right, shown] = found;
    result.className = `result ${right ? "right" : "wrong"}`;
    const lines = shown.map((index) => make("p", {}, ...why[index].cloneNode(true).childNodes));
    if (kind === "multiple") lines.forEach((line, i) => line.prepend(make("em", {}, ...copyOf(list, shown[i])), " "));
    else lines.forEach((line) => line.querySelector("strong")?.remove());  // the verdict stands above them
    if (kind === "order" && !right) {
      lines.splice(0, Infinity, make("p", {}, `In the wrong place: ${shown.map((index) => index + 1).join(", ")}.`));
    }
    result.replaceChildren(make("strong", {}, right ? "Right." : "Not right."), ...lines);
    variant.append(details);
    onJudged(right);
  });
  form.addEventListener("reset", () => {
    result.className = "result";
    result.replaceChildren();
    details.open = false;
    details.remove();
  });
  return { form, buttons };
}

function note(id, right) {
  kept.change("quiz", { [id]: right });
  dispatchEvent(new CustomEvent("llmguide:answered", { detail: { id, right } }));
}

function buildQuestion(question, onJudged) {
  const variants = [...question.querySelectorAll(".variant")];
  const built = variants.map((variant, index) => buildVariant(variant, `${question.id}-${index}`, onJudged));
  question.dataset.ready = "";
  // Who comes back to an answered question gets other numbers. The other variants wait outside the page.
  const first = question.id in kept.read("quiz") ? Math.floor(Math.random() * variants.length) : 0;
  question.replaceChildren(variants[first]);
  for (const [index, { buttons }] of variants.length > 1 ? built.entries() : []) {
    const other = make("button", { type: "button", className: "md-button", textContent: "Another variant" });
    other.addEventListener("click", () => {
      const next = (index + 1) % variants.length;
      built[next].form.reset();
      question.replaceChildren(variants[next]);
      built[next].form.querySelector("input, button").focus();
    });
    buttons.append(" ", other);
  }
  return built.map(({ form }) => form);
}

// All forms at once would keep a phone busy for a second: between two of them the browser can show them and listen.
function oneByOne(/** @type {(() => unknown)[]} */ [first, ...others]) {
  if (!first) return markScrollable();
  first();
  setTimeout(oneByOne, 0, others);
}

// An item in the running text of a page.
function prepareItem(box) {
  box.dataset.ready = "";
  const question = box.querySelector(".question");
  return () => buildQuestion(question, (right) => note(question.id, right));
}

function prepareChapter(chapter) {
  chapter.dataset.ready = "";
  const questions = [...chapter.querySelectorAll(".question")];
  const forms = [];
  const count = make("output");
  const reset = make("button", { type: "button", className: "md-button", textContent: "Reset this chapter" });
  const show = () => {
    const scores = kept.read("quiz");
    const answered = questions.filter(({ id }) => id in scores);
    const right = answered.filter(({ id }) => scores[id]);
    count.textContent = `${right.length} of ${questions.length} right, ${answered.length} answered`;
    reset.hidden = !answered.length;
  };
  reset.addEventListener("click", () => {
    kept.change("quiz", Object.fromEntries(questions.map(({ id }) => [id, undefined])));
    forms.forEach((form) => form.reset());
    questions.find(({ hidden }) => !hidden)?.querySelector("input, button")?.focus();
  });
  chapter.prepend(make("p", { className: "score" }, count, " ", reset));
  shows.push(show);
  show();
  return questions.map((question) => () => forms.push(...buildQuestion(question, (right) => note(question.id, right))));
}

let shows = []; // one for each chapter of the page
kept.follow((kind) => kind === "quiz" && shows.forEach((show) => show()));

function prepareQuizzes() {
  const boxes = [...document.querySelectorAll(".quiz:not([data-ready])")];
  oneByOne(boxes.flatMap(/** @returns {any} */ (box) => (box.dataset.chapter ? prepareChapter(box) : prepareItem(box))));
}

// The theme emits on document$ at load and again after each instant navigation.
document$.subscribe(() => {
  shows = [];
  prepareQuizzes();
});
