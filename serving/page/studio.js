// The studio: what to draw, the images as they form, and the gallery.

import { ask, json, setToken, Trouble } from "./api.js";
import { Gallery } from "./gallery.js";
import { dress, fill, setOf, sideOf } from "./prints.js";
import { describe, prepare, view } from "./viewer.js";

const $ = (name) => document.getElementById(name);
const gallery = new Gallery();
const any = "";
let models = {};
let working = null; // the AbortController of what is being drawn
let blending = null; // the image that waits for another to blend to

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;
const newSeed = () => Math.floor(Math.random() * 1e6);

// ---- the beginning

async function begin() {
  try {
    const ready = await (await ask("readyz")).json();
    if (!ready.ready) return later(ready.detail);
    const told = await json("v1/models");
    models = told.models;
    $("view-near").hidden = !told.compares;
  } catch (error) {
    if (error.status === 401) return askToken();
    return later(error.message);
  }
  $("ask-token").hidden = $("waiting").hidden = true;
  $("controls").hidden = false;
  settle(models.champion);
  await gallery.open();
  showGallery();
  setInterval(lookForSwap, 10000);
  develop(); // nobody should have to press anything to see what it does
}

function later(detail) {
  const asleep = detail.includes("darkroom run");
  $("waiting").querySelector("h2").textContent = asleep ? "No model yet" : "Warming up";
  $("waiting-what").replaceChildren();
  if (asleep) {
    const code = document.createElement("code");
    code.textContent = "darkroom run --data FOLDER";
    $("waiting-what").append("Train one on a folder of images: ", code, " It appears here by itself once it is the champion.");
  } else $("waiting-what").textContent = detail;
  setTimeout(begin, 1500);
}

function askToken() {
  $("waiting").hidden = true;
  $("ask-token").hidden = false;
  $("token").focus();
}

$("ask-token").onsubmit = (event) => {
  event.preventDefault();
  setToken($("token").value.trim());
  begin();
};

// ---- the controls

function settle(model) {
  $("model").textContent = `${model.name}, version ${model.version}`;
  document.title = `${model.name} - Darkroom`;
  const names = model.labels.filter(Boolean);
  $("labels").closest("fieldset").hidden = names.length < 2;
  $("labels").replaceChildren(...[any, ...names].map((label) => chip("label", label, label || "Any", label === any)));
  const shapes = model.shapes.map((shape) => shape.join(" \u00d7 "));
  $("shapes").closest("fieldset").hidden = shapes.length < 2;
  $("shapes").replaceChildren(chip("shape", "", "Any", true), ...shapes.map((words, at) => chip("shape", at, words, false)));
  $("prompt-part").hidden = !model.prompt_bytes;
  $("prompt").maxLength = Math.min(1000, model.prompt_bytes || 1000);
  put("guidance", model.drawing.guidance);
  put("away", model.drawing.away);
  $("away-part").hidden = !model.weaker_digest;
  if (innerWidth < 600) $("count").value = 4; // two by two fill a phone
  $("compare-part").hidden = !models.challenger || models.challenger.version === model.version;
  $("seed").value = newSeed();
  presetSteps();
  outputs();
}

function chip(group, value, text, checked) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "radio", name: group, value, checked });
  const span = document.createElement("span");
  label.className = "chip";
  span.textContent = text;
  label.append(input, span);
  return label;
}

// What a slider is set to, which it may not be able to show: that stands until it is moved.
const exact = {};
function put(slider, value) {
  $(slider).value = value;
  exact[slider] = { shown: $(slider).value, value };
}
const valueOf = (slider) => (exact[slider].shown === $(slider).value ? exact[slider].value : Number($(slider).value));

function outputs() {
  $("count-shown").value = $("count").value;
  $("steps-shown").value = valueOf("steps");
  for (const scale of ["guidance", "away"]) $(`${scale}-shown`).value = valueOf(scale).toFixed(2).replace(/0$/, "");
  $("labels").classList.toggle("passed-over", prompted()); // a prompt says it all
}

function presetSteps() {
  put("steps", chosen("preset") ? models.champion.presets[chosen("preset")] : models.champion.drawing.steps);
  outputs();
}

$("controls").oninput = outputs;
$("presets").onchange = presetSteps;
$("dice").onclick = () => { $("seed").value = newSeed(); };
$("seed").oninput = () => { $("keep").checked = true; };
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && !$("controls").hidden) {
    event.preventDefault();
    $("controls").requestSubmit();
  }
  if (event.key === "Escape" && blending) blend(null);
});

const prompted = () => !$("prompt-part").hidden && $("prompt").value.trim() !== "";

function asked() {
  const request = {
    count: Number($("count").value),
    seed: Number($("seed").value) || 0,
    guidance: valueOf("guidance"),
    steps: valueOf("steps"),
  };
  if (chosen("preset")) request.preset = chosen("preset"); // else the model's own sampler
  if (!$("away-part").hidden) request.away = valueOf("away");
  if (prompted()) request.prompt = $("prompt").value.trim();
  else if (chosen("label")) request.label = chosen("label");
  if (chosen("shape")) request.shape = models.champion.shapes[chosen("shape")];
  return request;
}

$("controls").onsubmit = (event) => {
  event.preventDefault();
  if (working) {
    working.abort();
    return;
  }
  if (!$("keep").checked && !first) $("seed").value = newSeed();
  develop();
};

// ---- drawing

let first = true;

function develop() {
  first = false;
  const request = asked();
  const what = request.prompt || request.label || "any class";
  const compare = $("compare").checked && !$("compare-part").hidden;
  const sides = compare ? ["champion", "challenger"] : ["champion"];
  run(`${what}, seed ${request.seed}`, sides.map((alias) => ({ ...request, model: alias })));
}

// Another model than the one that a request was made for may not know its shape, or keep no earlier weights: then its own way.
function within(request) {
  const model = models[request.model] || models.champion;
  const shaped = !request.shape || model.shapes.some((one) => String(one) === String(request.shape));
  return { ...request, ...(shaped ? {} : { shape: undefined }), ...(model.weaker_digest ? {} : { away: undefined }) };
}

const ownWay = ({ seed, first, label, prompt, shape, steps, guidance, away, sampler, turns }) =>
  JSON.parse(JSON.stringify({ seed, first, label, prompt, shape, steps, guidance, away, sampler, turns }));

function moreLike(image, strength) {
  const request = { ...ownWay(image.recipe), model: image.alias, count: Math.max(4, Number($("count").value)) };
  run(`More like ${describe(image)}`, [{ ...request, variation: { seed: newSeed(), strength } }]);
}

function blend(image) {
  blending = image;
  $("blending").hidden = !image;
}

function blendTo(image) {
  const start = blending;
  blend(null);
  const { seed, first, turns = [] } = image.recipe;
  const request = { ...ownWay(start.recipe), model: start.alias, count: 8, between: { seed, index: first, turns } };
  run(`From ${describe(start)} to ${describe(image)}`, [request]);
}

// One set of images; each request is a side of it, drawn one after another.
async function run(title, wanted) {
  const requests = wanted.map(within);
  working?.abort();
  const mine = (working = new AbortController());
  $("develop").textContent = "Stop";
  const set = setOf(title);
  $("prints").prepend(set.box);
  while ($("prints").children.length > 6) $("prints").lastChild.remove();
  if (scrollY > 300) $("stage").scrollIntoView();
  try {
    const named = ({ model }) => (requests.length > 1 ? `${model}, version ${models[model].version}` : "");
    const sides = requests.map((request) => sideOf(set, request, models[request.model], named(request)));
    for (const side of sides) {
      heard(`Developing ${side.tiles.length} images.`);
      const made = await fill(side, set, mine.signal, open);
      if (!made) break;
      gallery.add(made); // the database may take its time
      showGallery();
    }
    set.say(mine.signal.aborted ? "stopped" : "");
    heard(mine.signal.aborted ? "Stopped." : `${title}: done.`);
  } catch (error) {
    set.say("");
    if (error.name !== "AbortError") tell(error instanceof Trouble ? error.message : String(error));
    if (error.status === 401) askToken();
  }
  set.box.querySelectorAll(".forming").forEach((tile) => tile.remove());
  if (!set.box.querySelector(".print")) set.box.remove();
  if (working === mine) {
    working = null;
    $("develop").textContent = "Develop";
  }
}

// What a press on an image does.
function open(image, among) {
  if (blending) blendTo(image);
  else view(image, among);
}

// ---- the gallery

function showGallery() {
  const images = gallery.images.filter((image) => chosen("shown") !== "favourites" || image.favourite);
  $("gallery").hidden = false;
  $("kept-none").hidden = images.length > 0;
  $("kept-none").textContent = gallery.images.length ? "No favourites yet: open an image and press the heart." : "Every image you make is kept here, in this browser.";
  $("kept").replaceChildren(...images.slice(0, 120).map((image) => {
    const tile = document.createElement("button");
    const picture = new Image();
    tile.className = "print";
    tile.type = "button";
    picture.loading = "lazy";
    picture.className = image.size < 256 ? "sharp" : "";
    tile.append(picture);
    dress(tile, image, () => open(image, images));
    if (image.favourite) tile.append(Object.assign(document.createElement("span"), { className: "heart", textContent: "\u2665" }));
    return tile;
  }));
}

document.querySelectorAll("input[name=shown]").forEach((one) => { one.onchange = showGallery; });
$("clear").onclick = async () => {
  const gone = gallery.images.filter((image) => !image.favourite);
  if (!gone.length || !confirm(`Remove ${gone.length} images from this browser's gallery? Favourites stay.`)) return;
  await gallery.remove(gone);
  showGallery();
};
$("blend-not").onclick = () => blend(null);

prepare({
  within,
  more: moreLike,
  blend,
  use(image) {
    const { seed, steps, guidance, away, label, prompt, shape, turns } = image.recipe;
    Object.assign($("seed"), { value: seed });
    put("steps", steps);
    put("guidance", guidance);
    put("away", away ?? models.champion.drawing.away); // images of before it was told were drawn the model's own way
    $("prompt").value = prompt || "";
    document.querySelectorAll("input[name=label]").forEach((one) => { one.checked = one.value === (label || any); });
    const at = shape ? models.champion.shapes.findIndex((one) => String(one) === String(shape)) : "";
    document.querySelectorAll("input[name=shape]").forEach((one) => { one.checked = one.value === String(at); });
    $("keep").checked = true;
    outputs();
    const varied = turns?.length ? " What it was varied or blended by is not; \u201cMore like this\u201d goes on from the image itself." : "";
    tell(`Its seed and settings are set; press Develop.${varied}`);
  },
  async favour(image, favourite) {
    await gallery.favour(gallery.images.find((one) => one === image || one.src === image.src) || image, favourite);
    image.favourite = favourite;
    showGallery();
  },
});

// ---- what is told

let hideTold = 0;
function tell(text) {
  $("told").textContent = text;
  $("told").hidden = false;
  clearTimeout(hideTold);
  hideTold = setTimeout(() => { $("told").hidden = true; }, 6000);
}

function heard(text) {
  $("heard").textContent = text;
}

async function lookForSwap() {
  if (document.hidden || working) return;
  try {
    const before = models.champion;
    models = (await json("v1/models")).models;
    $("compare-part").hidden = !models.challenger || models.challenger.version === models.champion.version;
    if (models.champion.version !== before.version) {
      settle(models.champion);
      tell(`Version ${models.champion.version} is the champion now.`);
    }
  } catch { /* the next look will tell */ }
}

begin();
