// The pipeline page: pipeline.py trains and aligns a tiny model in the page's Python, and it is drawn while it learns.

import { run, stop } from "../backend.js";
import { chart } from "./chart.js";
import { announcer, button, field, make, percent, slider, table, within } from "./ui.js";

const STAGES = ["pre-training", "fine-tuning", "reward model"];
const METHODS = ["best-of-n", "PPO", "GRPO", "DPO"];

export function start(content, { sizes }) {
  const settings = {
    seed: 0,
    n_steps: 100,
    methods: ["best-of-n", "PPO", "DPO"],
    flawed: false,
    beta: 0.1,
    kl_coef: 0.1,
  };
  const { line, say } = announcer();
  const figures = make("div", { className: "side-by-side losses" });
  const plane = make("div");
  const answers = make("div");
  const measured = make("div");
  let found;

  const clear = () => {
    found = {
      losses: Object.fromEntries(STAGES.map((stage) => [stage, []])),
      says: [],
      frontier: [],
      paths: Object.fromEntries(METHODS.map((name) => [name, []])),
    };
  };

  function receive(value) {
    if (value.loss !== undefined) {
      found.losses[value.stage].push([value.step, value.loss]);
      say(`${value.stage}: step ${value.step}, loss ${value.loss.toFixed(3)}`);
    } else if (value.says) {
      found.says.push(value);
      say(`After ${value.stage}, the mean true reward is ${value.gold.toFixed(2)}.`);
    } else if (value.frontier) found.frontier = value.frontier;
    else {
      found.paths[value.method].push(value.point);
      say(`${value.method}: divergence ${value.point.kl.toFixed(2)}, true reward ${value.point.gold.toFixed(2)}`);
    }
    draw();
  }

  let isDrawn = true;
  function draw() {
    if (!isDrawn) return;
    isDrawn = false;
    requestAnimationFrame(() => {
      isDrawn = true;
      show();
    });
  }

  function show() {
    figures.replaceChildren(
      ...STAGES.filter((stage) => found.losses[stage].length).map((stage) =>
        chart({
          label: `Loss of ${stage} against steps`,
          x: "step",
          y: `${stage}: loss`,
          series: [{ name: "", points: found.losses[stage], style: "line" }],
          width: 240,
          height: 170,
        }),
      ),
    );
    const reached = METHODS.filter((name) => found.paths[name].length);
    const series = [
      { name: "frontier", points: found.frontier.map(({ kl, gold }) => [kl, gold]), style: "dashed" },
      ...METHODS.map((name) => ({
        name,
        points: found.paths[name].map(({ kl, gold }) => [kl, gold]),
        style: name === "best-of-n" ? "dots" : "line",
      })),
    ];
    plane.replaceChildren(
      ...(found.frontier.length
        ? [
            chart({
              label:
                "True reward against KL divergence: the path of each method, and the exact frontier",
              x: "divergence from the fine-tuned model, nats",
              y: "true reward",
              series,
            }),
          ]
        : []),
    );
    measured.replaceChildren(
      ...(reached.length
        ? [
            table(
              "Reward and KL divergence of each method, computed exactly over all completions",
              ["Method", "Divergence", "True reward", "Learned reward", "Best possible at that KL divergence"],
              reached.map((name) => {
                const { kl, gold, proxy } = found.paths[name].at(-1);
                return [name, kl.toFixed(2), gold.toFixed(2), proxy.toFixed(2), best(kl)];
              }),
            ),
          ]
        : []),
    );
    answers.replaceChildren(
      ...(found.says.length
        ? [
            table(
              "The most likely completion of each prompt after each stage",
              ["Stage", ...found.says[0].says.map(({ prompt }) => prompt), "Mean true reward"],
              found.says.map(({ stage, says, gold }) => [
                stage,
                ...says.map(({ answer, p }) => `${answer} (${percent(p)})`),
                gold.toFixed(2),
              ]),
            ),
          ]
        : []),
    );
  }

  // The frontier at a divergence, by the straight line between its two nearest points.
  function best(kl) {
    const right = found.frontier.findIndex((point) => point.kl >= kl);
    if (right < 1) return "–";
    const [a, b] = [found.frontier[right - 1], found.frontier[right]];
    return (a.gold + ((kl - a.kl) / (b.kl - a.kl)) * (b.gold - a.gold)).toFixed(2);
  }

  async function begin() {
    clear();
    show();
    const controls = content.querySelectorAll("input, button");
    for (const control of controls) control.disabled = control !== stopper;
    stopper.focus();
    const result = await run("from pipeline import live\nlive(**settings)", {
      scope: "play/pipeline",
      name: "the pipeline",
      needs: "torch",
      inputs: { settings },
      onLoading: say,
      onStart: () => say("Pre-training begins."),
      onData: receive,
    });
    for (const control of controls) control.disabled = control === stopper;
    starter.focus();
    say(
      result.ok
        ? `Done, in ${Math.round(result.seconds)} seconds.`
        : result.stopped
          ? "Stopped."
          : result.error.trim().split("\n").at(-1),
    ); // of a traceback, what went wrong
  }

  const checkbox = (label, isOn, onChange) => {
    const input = make("input", { type: "checkbox", checked: isOn });
    input.addEventListener("change", () => onChange(input.checked));
    return field(label, input, "field check");
  };
  const chosen = METHODS.map((name) =>
    checkbox(name, settings.methods.includes(name), (isOn) => {
      settings.methods = METHODS.filter((other) => (other === name ? isOn : settings.methods.includes(other)));
    }),
  );
  const seed = make("input", { type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value: 0 });
  seed.addEventListener("input", () => (settings.seed = Math.trunc(within(seed.value, 0, 2 ** 32 - 1, 0))));
  const megabytes = Object.values(JSON.parse(sizes)).reduce((total, size) => total + size, 0);
  const starter = button(`Train (loads Python once, ${megabytes.toFixed(1)} MB)`, begin);
  const stopper = button("Stop", stop);
  stopper.disabled = true;
  const two = (x) => x.toFixed(2);
  content.append(
    make(
      "div",
      { className: "sliders" },
      slider(
        "Steps of PPO, GRPO and DPO",
        { min: 20, max: 300, step: 20, value: settings.n_steps },
        (x) => (settings.n_steps = x),
      ),
      slider(
        "KL coefficient of PPO and GRPO",
        { min: 0, max: 0.5, step: 0.01, value: settings.kl_coef, format: two },
        (x) => (settings.kl_coef = x),
      ),
      slider(
        "β of DPO",
        { min: 0.02, max: 0.5, step: 0.02, value: settings.beta, format: two },
        (x) => (settings.beta = x),
      ),
      field("Seed", seed),
    ),
    make(
      "div",
      { className: "controls" },
      ...chosen,
      checkbox("The reward model likes every wow", false, (isOn) => (settings.flawed = isOn)),
    ),
    make("p", { className: "buttons" }, starter, stopper),
    line,
    figures,
    plane,
    measured,
    answers,
  );
  clear();
}
