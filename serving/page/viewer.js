// One image, large: what it is, what it came from, and what can be done with it.

import { json } from "./api.js";

const $ = (name) => document.getElementById(name);
const dialog = $("viewer");
let shown = null;
let among = [];
let acts = null;

// `does`: {more, blend, use, favour}, each told of the image that is shown; `within` fits a request to the model it goes to.
export function prepare(does) {
  acts = does;
  $("view-close").onclick = () => dialog.close();
  $("view-before").onclick = () => step(-1);
  $("view-after").onclick = () => step(1);
  $("view-like").onclick = () => like();
  $("view-save").onclick = () => save(shown);
  $("view-use").onclick = () => leave(() => acts.use(shown));
  $("view-blend").onclick = () => leave(() => acts.blend(shown));
  $("view-more").onclick = () => leave(() => acts.more(shown, Number($("strength").value)));
  $("view-near").onclick = () => nearest(shown);
  $("strength").oninput = () => { $("strength-shown").value = `${Math.round($("strength").value * 100)} %`; };
  $("strength").oninput();
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  dialog.onkeydown = (event) => {
    if (event.target.type === "range" || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), f: like, d: () => save(shown), m: () => $("view-more").click() };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  };
}

export function view(image, images) {
  among = images;
  show(image);
  if (!dialog.open) dialog.showModal();
}

export function name(image) {
  return image.recipe.prompt || image.label || "image";
}

export function describe(image) {
  const turned = image.recipe.turns?.length ? ", varied" : "";
  return `${name(image)}, seed ${image.recipe.seed}, image ${image.recipe.first + 1}${turned}`;
}

export function save(image) {
  const link = document.createElement("a");
  const turned = image.recipe.turns?.length ? `-${Date.now()}` : "";
  link.href = image.src;
  link.download = `${name(image)}-v${image.version}-seed${image.recipe.seed}-${image.recipe.first}${turned}.png`.replace(/[^\w.-]+/g, "_");
  link.click();
}

function show(image) {
  shown = image;
  const place = among.indexOf(image);
  $("view-img").src = image.src;
  $("view-img").alt = describe(image);
  $("view-img").className = image.size < 256 ? "sharp" : "";
  $("viewer-title").textContent = name(image);
  $("view-like").setAttribute("aria-pressed", String(!!image.favourite));
  $("view-before").disabled = place <= 0;
  $("view-after").disabled = place < 0 || place >= among.length - 1;
  $("near").replaceChildren();
  const { sampler, ...settings } = image.recipe;
  const facts = {
    Model: `${image.model}, version ${image.version}`,
    Data: image.data,
    Seed: settings.seed,
    Image: `${settings.first + 1} of this seed`,
    ...(settings.turns ? { Varied: settings.turns.map((turn) => `${Math.round(turn.amount * 100)} % towards seed ${turn.seed}`).join(", then ") } : {}),
    Steps: settings.steps,
    Guidance: settings.guidance,
    ...(settings.away !== undefined && settings.away !== 1 ? { Autoguidance: settings.away } : {}),
    Sampler: Object.values(sampler).join(" "),
  };
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([term, fact]) => [element("dt", term), element("dd", fact)]));
}

function step(by) {
  const next = among[among.indexOf(shown) + by];
  if (next) show(next);
}

function like() {
  acts.favour(shown, !shown.favourite);
  $("view-like").setAttribute("aria-pressed", String(shown.favourite));
}

function leave(act) {
  dialog.close();
  act();
}

async function nearest(image) {
  $("near").replaceChildren(element("p", "Looking through the training images"));
  try {
    const found = await json("v1/nearest", { method: "POST", body: acts.within({ ...image.recipe, model: image.alias }) });
    if (image !== shown) return;
    const row = element("div", "");
    row.className = "near";
    for (const one of found.nearest) {
      const figure = element("figure", "");
      const picture = new Image();
      picture.src = `data:image/png;base64,${one.image}`;
      picture.alt = `training image ${one.path}, distance ${one.distance.toFixed(3)}`;
      picture.className = image.size < 256 ? "sharp" : "";
      figure.append(picture, element("figcaption", `${one.label} ${one.distance.toFixed(2)}`));
      figure.title = one.path;
      row.append(figure);
    }
    const verdict = found.copy_likely ? "It may be a copy of the first of these training images." : "The nearest training images; it is no copy of any of them.";
    const data = found.same_data ? "" : " The data have changed since this version was trained.";
    $("near").replaceChildren(element("p", verdict + data), row);
  } catch (error) {
    $("near").replaceChildren(element("p", error.message));
  }
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
