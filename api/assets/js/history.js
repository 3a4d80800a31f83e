/* The pictures of this visit, newest first. They live as long as the page: nothing is stored in the browser. */

import { percent, spoken } from "./words.js";

const MOST = 12;
const section = document.getElementById("history");
const tiles = document.getElementById("tiles");
const looks = [];

/** Add or refresh the tile of a look; `onPick` gets the look when its tile is pressed. */
export function remember(look, onPick) {
  if (!looks.includes(look)) add(look, onPick);
  const { answer, trouble } = look;
  look.tile.querySelector(".tile-name").textContent = trouble ? "No answer" : spoken(answer.prediction);
  look.tile.querySelector(".tile-percent").textContent = trouble ? "" : percent(answer.score);
  section.hidden = looks.length < 2; // one picture is on the stage already
}

/** Mark the tile of the look that is on the stage. */
export function mark(shown) {
  for (const look of looks) look.tile.querySelector("button").setAttribute("aria-current", String(look === shown));
}

function add(look, onPick) {
  look.tile = document.getElementById("tile-template").content.cloneNode(true).querySelector("li");
  look.tile.querySelector("img").src = look.address;
  look.tile.querySelector("button").addEventListener("click", () => onPick(look));
  looks.unshift(look);
  tiles.prepend(look.tile);
  if (looks.length > MOST) forget(looks.pop());
}

function forget(look) {
  look.tile.remove();
  URL.revokeObjectURL(look.address);
}
