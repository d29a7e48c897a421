// The prints: tiles that show images as they form.

import { draw } from "./api.js";
import { describe } from "./viewer.js";

// A set of images under a title; `say` tells how far it is.
export function setOf(title) {
  const box = document.createElement("section");
  const head = document.createElement("div");
  const name = document.createElement("h2");
  const state = document.createElement("p");
  const sides = document.createElement("div");
  box.className = "set";
  head.className = "set-head";
  sides.className = "sides";
  state.className = "muted";
  name.textContent = title;
  head.append(name, state);
  box.append(head, sides);
  return { box, sides, images: [], say: (text) => { state.textContent = text; } };
}

// One side of a set: empty tiles for the images of a request. `name` is shown above them where there are several sides.
export function sideOf(set, request, model, name) {
  if (name) {
    const above = document.createElement("p");
    above.className = "muted";
    above.textContent = name;
    set.sides.append(above);
  }
  const grid = document.createElement("div");
  grid.className = `grid ${request.count === 1 ? "one" : request.count <= 4 ? "few" : request.count <= 8 ? "some" : ""}`;
  const tiles = Array.from({ length: request.count }, () => {
    const tile = document.createElement("button");
    const image = new Image();
    const line = document.createElement("span");
    tile.className = "print forming";
    tile.type = "button";
    tile.disabled = true;
    line.className = "line";
    image.alt = "forming";
    image.className = model.image_size < 256 ? "sharp" : "";
    image.hidden = true;
    tile.append(image, line);
    grid.append(tile);
    return tile;
  });
  set.sides.append(grid);
  return { request, tiles, model };
}

// Draw a side and show its images as they form. Resolves to them, to null where it was stopped.
export async function fill({ request, tiles, model }, set, signal, open) {
  const steps = new Array(tiles.length).fill(0);
  const told = await draw(request, {
    signal,
    waiting: (seconds) => set.say(`others are drawing; trying again in ${Math.max(1, seconds)} s`),
    forming(place, step, of, src) {
      const [image, line] = tiles[place].children;
      image.src = src;
      image.hidden = false;
      line.style.width = `${(100 * step) / of}%`;
      steps[place] = step / of;
      set.say(`developing, ${Math.round((100 * steps.reduce((sum, one) => sum + one, 0)) / steps.length)} %`);
    },
  });
  if (!told) return null;
  const images = told.images.map(({ image, label, recipe }) => ({
    src: `data:image/png;base64,${image}`, label, recipe, alias: request.model, size: model.image_size,
    model: told.model, version: told.version, data: told.data_digest, favourite: false,
  }));
  set.images.push(...images);
  images.forEach((image, place) => dress(tiles[place], image, () => open(image, set.images)));
  return images;
}

// A tile shows an image, and does something when it is pressed.
export function dress(tile, image, pressed) {
  const [picture, line] = tile.children;
  picture.src = image.src;
  picture.alt = "";
  picture.hidden = false;
  line?.remove();
  tile.classList.remove("forming");
  tile.disabled = false;
  tile.setAttribute("aria-label", describe(image));
  tile.onclick = pressed;
}
